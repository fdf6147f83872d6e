"""Where the command of a stage runs: a process group of its own, forked warm. Uses common."""

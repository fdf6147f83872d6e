"""What each command prints; uses results, the executor, and data sets."""

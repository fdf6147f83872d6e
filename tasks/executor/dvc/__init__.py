"""All that touches DVC's internals: its graph, judgement, lock file and run cache. Uses common."""

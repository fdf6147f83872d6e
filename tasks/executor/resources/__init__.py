"""Which GPU and how many threads a stage may use. Uses common."""

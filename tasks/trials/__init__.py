"""The plan of trials, and their results on disk. Uses settings and common."""

"""What one stage leaves for the next on disk: splits, networks, tokens. Uses datasets, settings, common."""

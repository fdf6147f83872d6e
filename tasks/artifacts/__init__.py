"""The files that one stage writes for the next: splits, networks, tokens. Uses datasets, settings, common."""

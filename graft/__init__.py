"""Floor 1, pure torch: networks, strategies, the one training loop, honest comparison. No files, no servers."""

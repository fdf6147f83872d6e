"""Parts of the one loop: checkpoints, the best weights, selection, cached features. Uses networks and data."""

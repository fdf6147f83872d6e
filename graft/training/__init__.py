"""Parts of the training loop: checkpoints, the best weights, selection, cached features. Uses networks and data."""

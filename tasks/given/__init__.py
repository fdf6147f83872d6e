"""Weights that a user brings: where each kind comes from, and the network that they make."""

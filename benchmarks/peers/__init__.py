"""Graft next to the tools that a user might take instead, with the same weights, paid labels and test images."""

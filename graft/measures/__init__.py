"""Scores and comparisons: metrics, intervals, transferability, domain gap, cost. Uses networks and data."""

"""Building blocks of strategies. Uses measures, networks and data."""

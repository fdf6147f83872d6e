"""What strategies are made of. Uses measures, networks and data."""

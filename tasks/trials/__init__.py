"""Which trials there are, and where their results lie. Uses settings and common."""

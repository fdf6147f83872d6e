"""Bodies and heads: made, loaded, changed, cut into stages. Uses data."""

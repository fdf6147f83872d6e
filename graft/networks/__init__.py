"""Backbones and heads: building, loading, adapting, splitting into stages. Uses data."""

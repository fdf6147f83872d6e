"""Benchmarks: every figure that docs/figures.md states, with the command that produces it."""

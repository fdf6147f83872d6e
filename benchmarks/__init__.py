"""Benchmarks: every figure that the README states, with the command that produces it."""

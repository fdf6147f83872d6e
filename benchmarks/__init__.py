"""Every figure that docs/figures.md states, with the command that makes it."""

"""Every figure that the README states, with the command that makes it."""

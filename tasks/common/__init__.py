"""Errors, files, local servers: what any program needs. Uses nothing of Graft."""

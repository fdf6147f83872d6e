"""Readers of the user's files: archives of arrays, tables, tables of texts. Uses common."""

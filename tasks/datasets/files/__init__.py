"""One file of the user, read: an archive of arrays, a table, a table of texts. Uses common."""

"""The layouts a domain may have on disk; each is read into the same lists of images or texts. Uses files."""

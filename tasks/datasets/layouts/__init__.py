"""How a domain may lie on disk, each as the same list of images or texts. Uses files."""

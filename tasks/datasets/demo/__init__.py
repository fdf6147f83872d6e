"""The demo's two domains of digits: rendered from fonts, and handwritten. Uses common."""

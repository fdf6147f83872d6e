"""The demo's two domains: digits rendered from fonts, and handwritten digits. Uses common."""

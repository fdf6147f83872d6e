"""Raw data in any supported layout: recognised, checked and read as arrays. Uses settings and common."""

"""Raw data of any form, recognised, checked and read as arrays. Uses settings and common."""

"""The result as one HTML page that stands alone. Uses results, artifacts, trials, settings, common."""

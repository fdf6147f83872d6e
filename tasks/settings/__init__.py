"""The project's YAML files as frozen dataclasses. Uses common."""

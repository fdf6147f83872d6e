"""The four YAML files of a project as frozen dataclasses. Uses common."""

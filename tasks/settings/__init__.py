"""Sections of `params.yaml` as frozen dataclasses, and the check of them all. Only knobs need torch."""

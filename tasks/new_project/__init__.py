"""The files that `graft init` writes. Uses checks, source_models, settings, stage, common."""

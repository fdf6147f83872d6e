"""What `graft init` writes: the files of a new project. Uses checks, source_models, settings, stage, common."""

"""What must hold before anything is trained.

Uses source_models, artifacts, executor, trials, stage, settings, common.
"""

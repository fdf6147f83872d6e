"""Checks that must pass before anything is trained.

Uses source_models, artifacts, executor, trials, stage, settings, common.
"""

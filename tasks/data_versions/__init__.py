"""`data/` against `data.dvc`: fetched, checked, added, imported, watched.

Uses datasets, trials, executor, settings, common.
"""

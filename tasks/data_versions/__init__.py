"""`data/` and its record `data.dvc`: fetch, check, add, import, watch.

Uses datasets, trials, executor, settings, common.
"""

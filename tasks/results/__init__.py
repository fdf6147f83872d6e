"""The result of a run (`reports/metrics.json`): made, read, put into words.

Uses artifacts, trials, settings, common.
"""

"""The promotion gate, the champion, and the served model.

Uses tracking, results, artifacts, stage, settings, common.
"""

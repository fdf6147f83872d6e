"""The gate, the champion, and the model that is served.

Uses tracking, results, artifacts, stage, settings, common.
"""

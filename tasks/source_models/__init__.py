"""Where a source model comes from: found, loaded, trained, compared.

Uses tracking (client), artifacts, trials, stage, settings, common.
"""

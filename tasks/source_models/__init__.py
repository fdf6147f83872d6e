"""Source models: found, loaded, trained and compared.

Uses tracking (client), artifacts, trials, stage, settings, common.
"""

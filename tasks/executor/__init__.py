"""Runs the stages of any DVC project in parallel; `pipeline` is its door. Uses stage and common."""

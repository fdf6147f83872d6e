"""The stage executor: DVC's judgement, the schedule, and warm processes. `tasks.pipeline` is its door."""

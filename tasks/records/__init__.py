"""What MLflow is told: runs, models, promotions. Its doors are `tasks.tracking`, `tasks.registry`."""

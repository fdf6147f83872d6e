"""Floor 3, order: what follows what. Imports Prefect and `tasks`, never torch or MLflow."""

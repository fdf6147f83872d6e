"""Floor 3, order: the commands and the flow. Imports Prefect and `tasks`, never torch or MLflow."""

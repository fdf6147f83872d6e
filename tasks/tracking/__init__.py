"""Mirror the result in MLflow. Uses results, executor (journal), trials, stage, settings, common."""

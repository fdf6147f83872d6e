"""The result mirrored in MLflow. Uses results, executor (journal), trials, stage, settings, common."""

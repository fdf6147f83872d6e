"""Floor 2, effects: files, processes, devices, DVC and MLflow. Thin; imports `graft`, never `flows`."""

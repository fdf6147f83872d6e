"""Floor 2, side effects: files, processes, devices, DVC and MLflow. Thin; imports `graft`, never `flows`."""

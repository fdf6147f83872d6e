"""What the process of a stage does first and last, and by what the stage is known. Uses settings and common."""

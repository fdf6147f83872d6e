"""What every stage's process does first and last, and the hashes that identify a stage. Uses settings and common."""

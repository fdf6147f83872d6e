"""Floor 2, side effects: files, processes, devices, DVC, MLflow. Stages stand in the open; all else lies in rooms."""

import os
import sys

if sys.argv[0] == "-m":  # `python -m tasks.STAGE`, before torch is imported
    # Threads of OpenMP that wait for each other spin: where cores are busy that costs many times the work itself.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

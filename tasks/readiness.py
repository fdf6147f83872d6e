"""What is settled before a project's stages are looked at, however the run was started."""

from pathlib import Path

from tasks.checkpoint_folders import prune
from tasks.executor import journal
from tasks.mlflow_settings import read_mlflow_settings
from tasks.plan import read_plan, sweep
from tasks.settings.check_parameters import check_parameters


def check_files(root: Path) -> None:
    """Check params.yaml and mlflow.yaml: a typo must not cost a training.

    The knobs of strategies are not checked here: that needs torch.

    Raises:
        GraftError: one of the files cannot be used.
    """
    check_parameters(root)
    read_mlflow_settings(root)


def make_ready(root: Path) -> None:
    """Check the files; put away trials that nobody asks for (DVC's cache keeps them) and checkpoints of what is done.

    Raises:
        GraftError: one of the files cannot be used.
    """
    check_files(root)
    sweep(root / "build/trials", read_plan(root / "params.yaml"))
    prune(root)
    journal.prune(root)

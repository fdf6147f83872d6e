"""What is settled before a project's stages are looked at, however the run was started."""

from pathlib import Path

from tasks.checks.parameters import check_parameters
from tasks.common.places import PARAMS, TRIALS
from tasks.executor import run_journal
from tasks.settings.mlflow import read_mlflow_settings
from tasks.stage.checkpoint_folders import prune
from tasks.trials.plan import read_plan, sweep


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
    sweep(root / TRIALS, read_plan(root / PARAMS))
    prune(root)
    run_journal.prune(root)

"""Checks and clean-up before a project's stages are examined, however the run was started."""

from pathlib import Path

from tasks.checks.parameters import check_parameters
from tasks.common.places import PARAMS, TRIALS
from tasks.executor import run_journal
from tasks.settings.mlflow import read_mlflow_settings
from tasks.stage.checkpoint_folders import prune
from tasks.trials.plan import read_plan, sweep


def check_files(root: Path) -> None:
    """Check params.yaml and mlflow.yaml, so that a typo does not cost a training run.

    The knobs of strategies are not checked here, since that requires importing torch.

    Raises:
        GraftError: one of the files is not valid.
    """
    check_parameters(root)
    read_mlflow_settings(root)


def make_ready(root: Path) -> None:
    """Check the files; remove trials that are no longer in the plan (DVC's cache keeps them) and obsolete checkpoints.

    Raises:
        GraftError: one of the files is not valid.
    """
    check_files(root)
    sweep(root / TRIALS, read_plan(root / PARAMS))
    prune(root)
    run_journal.prune(root)

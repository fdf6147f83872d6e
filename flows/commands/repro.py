"""`graft repro`: run the stages of any DVC project, in parallel. It knows nothing about what a stage does."""

from collections.abc import Sequence
from contextlib import nullcontext

from rich.console import Console

from flows.views.progress import progress
from flows.views.stages import done, stages_view
from tasks.executor.pipeline import Pipeline


def reproduce(
    pipeline: Pipeline, console: Console, targets: Sequence[str], *, keep_going: bool = False, dry: bool = False
) -> None:
    """Bring the targets up to date, or with `dry` show what would run, which is possible during another run.

    Raises:
        RunFailed: stages failed.
        GraftError: the pipeline cannot be read, a target does not exist, or the repository is busy.
    """
    with nullcontext() if dry else pipeline.turn():
        found = pipeline.status(targets)
        if dry or all(stage.state == "up_to_date" for stage in found):
            console.print(stages_view(found, console.width), soft_wrap=True)
            return
        with progress(console, [stage.name for stage in found], lines=True):
            outcomes = pipeline.run(targets, keep_going=keep_going)
    console.print(f"{done(outcomes)}.", highlight=False)

"""New data: what was put into `data/`, or what its origin holds now. It is versioned if the check finds no problem.

The origin of an imported `data/` (`dvc import`, `dvc import-url`) is a folder, a bucket or another repository; data.dvc
says which.
"""

from pathlib import Path

from graft.data.label_budget import ALL
from tasks.common.errors import AwayError, GraftError
from tasks.common.places import PARAMS, POINTER, RAW_DATA
from tasks.data_versions.dvc_data import Changes, changes_between, compare, is_import, update_import
from tasks.data_versions.half_filled import filling, take_back
from tasks.data_versions.version import DataRefused, DataVersion, OnLine, recorded, version_data
from tasks.datasets.check import Budget, check_data, summarise
from tasks.settings.finetune import FinetuneSettings
from tasks.settings.prepare import PrepareSettings
from tasks.settings.yaml_sections import read_section
from tasks.trials.plan import read_plan


def take_in(root: Path, on_line: OnLine | None = None) -> DataVersion:
    """Version new data, if there is any; `on_line` gets a line before each thing that takes time.

    Raises:
        DataRefused: it has problems, all of which are named.
        GraftError: there is no data, or DVC cannot read, fetch or write it.
    """
    say = on_line or (lambda _line: None)
    take_back(root)
    if (root / POINTER).exists() and is_import(root):
        return _update(root, say)
    return version_data(root, update=True, on_line=say, check=lambda: refuse_faults(root, "data/ was left as it is."))


def refuse_faults(root: Path, what_became: str) -> None:
    """Check `data/` with the label budget of `params.yaml`.

    Raises:
        DataRefused: it has problems; ends with `what_became` of it.
    """
    if faults := data_faults(root):
        raise DataRefused(
            ["the new data is refused:", *faults], f"{what_became} `graft data check` tells all problems."
        )


def data_faults(root: Path) -> list[str]:
    """All that is wrong with `data/`, a line a problem.

    Raises:
        GraftError: params.yaml cannot be used.
    """
    settings = read_section(root / PARAMS, "prepare", PrepareSettings)
    return summarise(check_data(root, settings, label_budget(root)))


def label_budget(root: Path) -> Budget:
    """The labels that the trials of `params.yaml` draw from the target.

    Raises:
        GraftError: params.yaml cannot be used.
    """
    spent = read_section(root / PARAMS, "finetune", FinetuneSettings)
    plan = read_plan(root / PARAMS)
    of_all = spent.validation_fraction if ALL in plan.budgets else None
    return Budget(plan.most_labels, min(spent.validation_per_class, plan.most_labels), of_all)


def _fetch_news(root: Path) -> None:
    try:
        update_import(root)
    except GraftError as error:
        raise AwayError(
            [f"data's origin is not available: {problem}" for problem in error.problems], error.hint
        ) from error


def _update(root: Path, say: OnLine) -> DataVersion:
    """Fetch what the origin holds now; invalid data goes and what was there comes back."""
    if not (root / RAW_DATA).exists():
        version_data(root, on_line=say)
    elif isinstance(changed := compare(root), Changes):
        raise GraftError(
            f"data/ is imported, and was edited here: {changed}",
            "Put it back (`dvc checkout data.dvc`), and edit it where it comes from; data.dvc says where.",
        )
    before = recorded(root)
    try:
        with filling(root):
            say("asking data's origin for news")
            _fetch_news(root)
            if recorded(root) != before:
                say("checking the new data")
                refuse_faults(root, "What was there before is back.")
    except BaseException:  # DVC drops what was there before it looks whether there is anything to take its place
        version_data(root)
        raise
    after = recorded(root)
    if after == before:
        return DataVersion(after, "unchanged")
    return DataVersion(after, "updated", changes_between(root, before, after))

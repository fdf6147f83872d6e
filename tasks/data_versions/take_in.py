"""Version new data: what was put into `data/`, or what its origin holds now. It must pass the check.

The origin of an imported `data/` (`dvc import`, `dvc import-url`) is a folder, a bucket or another repository, named in
data.dvc.
"""

from pathlib import Path

from graft.data.label_budget import ALL
from tasks.common.errors import AwayError, GraftError
from tasks.common.places import PARAMS, POINTER, RAW_DATA
from tasks.data_versions.dvc_data import Changes, changes_between, compare, is_import, update_import
from tasks.data_versions.half_filled import filling, take_back
from tasks.data_versions.version import DataRefused, DataVersion, OnLine, recorded, version_data
from tasks.datasets.check import Budget, check_data, summarise
from tasks.datasets.pack import pack_ahead
from tasks.settings.prepare import PrepareSettings
from tasks.settings.yaml_sections import read_section
from tasks.trials.plan import read_plan


def take_in(root: Path, on_line: OnLine | None = None) -> DataVersion:
    """Version new data, if there is any; `on_line` receives a line before each step that takes time.

    Raises:
        DataRefused: it has problems; lists all of them.
        GraftError: there is no data, or DVC cannot read, fetch or write it.
    """
    say = on_line or (lambda _line: None)
    take_back(root)
    if (root / POINTER).exists() and is_import(root):
        return _update(root, say)
    return version_data(
        root, update=True, on_line=say, check=lambda md5: refuse_faults(root, md5, "data/ was left as it is.")
    )


def refuse_faults(root: Path, md5: str, what_became: str) -> None:
    """Check `data/`, whose hash is `md5`, with the label budget of `params.yaml`; the stage reuses what it has read.

    Raises:
        DataRefused: it has problems; the hint starts with `what_became`, the state of data/ now.
    """
    settings = read_section(root / PARAMS, "prepare", PrepareSettings)
    if faults := summarise(pack_ahead(root, settings, md5, label_budget(root))):
        raise DataRefused(
            ["the new data is refused:", *faults], f"{what_became} `graft data check` lists all problems."
        )


def data_faults(root: Path) -> list[str]:
    """All problems of `data/`, one per line.

    Raises:
        GraftError: params.yaml cannot be used.
    """
    settings = read_section(root / PARAMS, "prepare", PrepareSettings)
    return summarise(check_data(root, settings, label_budget(root)))


def label_budget(root: Path) -> Budget:
    """The labels that the trials in `params.yaml` draw from the target.

    Raises:
        GraftError: params.yaml cannot be used.
    """
    plan = read_plan(root / PARAMS)
    return Budget(plan.most_labels, ALL in plan.budgets)


def _fetch_news(root: Path) -> None:
    try:
        update_import(root)
    except GraftError as error:
        raise AwayError(
            [f"the origin of data/ is not available: {problem}" for problem in error.problems], error.hint
        ) from error


def _update(root: Path, say: OnLine) -> DataVersion:
    """Fetch what the origin holds now; if it is invalid, restore the previous data."""
    if not (root / RAW_DATA).exists():
        version_data(root, on_line=say)
    elif isinstance(changed := compare(root), Changes):
        raise GraftError(
            f"data/ is imported, but was edited here: {changed}",
            "Restore it with `dvc checkout data.dvc`, and edit it at its origin, which data.dvc names.",
        )
    before = recorded(root)
    try:
        with filling(root):
            say("checking the origin of data/ for changes")
            _fetch_news(root)
            if recorded(root) != before:
                say("checking the new data")
                refuse_faults(root, recorded(root), "The previous data was restored.")
    except BaseException:  # DVC removes the previous data before it checks whether there is new data to replace it
        version_data(root)
        raise
    after = recorded(root)
    if after == before:
        return DataVersion(after, "unchanged")
    return DataVersion(after, "updated", changes_between(root, before, after))

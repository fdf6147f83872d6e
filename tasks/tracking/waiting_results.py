"""Results that MLflow was not there to take: kept apart, should the next result replace them before it is back.

What is kept are the files that `read_run_result` reads and the pages that belong to a result, not its weights: a result
that was replaced is recorded, and never registered.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from tasks.common.environment import STATE
from tasks.common.files import new_folder, write_json
from tasks.datasets.card_file import CARD
from tasks.results.forecast_file import FORECAST
from tasks.results.metrics_file import METRICS
from tasks.tracking.git_state import git_tags
from tasks.tracking.run_result import RunResult

FOLDER = Path(STATE) / "unrecorded"
PROVENANCE = "provenance.json"
_KEPT = (
    "dvc.lock",
    "reports/index.html",
    str(METRICS),
    str(CARD),
    str(FORECAST),
    "build/evaluation/figures/*.svg",
    *(
        f"build/{folder}/{name}"
        for folder in ("pretrained", "sources/*", "trials/*")
        for name in ("*.json", "curve.csv")
    ),
)


def keep(project: Path, result: RunResult) -> None:
    """Copy what belongs to a result, unless that was done before."""
    place = project / FOLDER / result.key
    if place.exists():
        return
    with new_folder(place) as folder:
        for pattern in _KEPT:
            for path in sorted(result.root.glob(pattern)):
                target = folder / path.relative_to(result.root)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
        write_json(folder / PROVENANCE, git_tags(result.root))


def kept(project: Path) -> Iterator[Path]:
    """The folders of the results that are kept, the oldest first."""
    folders = [path for path in (project / FOLDER).glob("[!.]*") if path.is_dir()]
    yield from sorted(folders, key=lambda path: (path.stat().st_mtime_ns, path.name))


def forget(project: Path, result: RunResult) -> None:
    """It is recorded."""
    put_away(project / FOLDER / result.key)


def put_away(folder: Path) -> None:
    """Remove what was kept, at once for whoever looks: half of a result is none."""
    gone = folder.with_name(f".{folder.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    if folder.exists():
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def provenance(root: Path) -> dict[str, str]:
    """Which code a result came from: as it was when the result was kept, or as it is."""
    try:
        found: dict[str, str] = json.loads((root / PROVENANCE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return git_tags(root)
    return found

"""Results that could not be recorded because MLflow was not available: kept until it is back, even if newer results
replace them in the project.

Kept are the files that `read_run_result` reads and the pages of a result, not its weights: a result that was replaced
is recorded later, but never registered.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from tasks.common.files import new_folder, write_json
from tasks.common.places import BUILD, CARD, FIGURES, FORECAST, LOCK, METRICS, REPORT, STATE
from tasks.tracking.git_state import git_tags
from tasks.tracking.run_result import RunResult

FOLDER = STATE / "unrecorded"
PROVENANCE = "provenance.json"
_KEPT = (
    LOCK,
    REPORT,
    METRICS,
    CARD,
    FORECAST,
    FIGURES / "*.svg",
    *(BUILD / folder / name for folder in ("pretrained", "sources/*", "trials/*") for name in ("*.json", "curve.csv")),
)


def keep(project: Path, result: RunResult) -> None:
    """Copy the files of a result, unless they were copied before."""
    place = project / FOLDER / result.key
    if place.exists():
        return
    with new_folder(place) as folder:
        for pattern in _KEPT:
            for path in sorted(result.root.glob(str(pattern))):
                target = folder / path.relative_to(result.root)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
        write_json(folder / PROVENANCE, git_tags(result.root))


def kept(project: Path) -> Iterator[Path]:
    """The folders of the kept results, the oldest first."""
    folders = [path for path in (project / FOLDER).glob("[!.]*") if path.is_dir()]
    yield from sorted(folders, key=lambda path: (path.stat().st_mtime_ns, path.name))


def forget(project: Path, result: RunResult) -> None:
    """Remove a kept result that has been recorded."""
    put_away(project / FOLDER / result.key)


def put_away(folder: Path) -> None:
    """Remove a kept result atomically, so that no other process reads half of it."""
    gone = folder.with_name(f".{folder.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    if folder.exists():
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def provenance(root: Path) -> dict[str, str]:
    """The git tags of a result: those saved when it was kept, or the current ones."""
    try:
        found: dict[str, str] = json.loads((root / PROVENANCE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return git_tags(root)
    return found

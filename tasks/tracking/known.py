"""Whether MLflow is known to hold a result, because neither the result nor MLflow's database has changed since.

Asking MLflow takes seconds, most of them to import it. A database in a file shows by its size and time whether anything
was written; a server has to be asked.
"""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

from tasks.common.files import write_json
from tasks.common.places import LOCK, METRICS, REPORT, STATE
from tasks.settings.mlflow import MlflowSettings, read_mlflow_settings
from tasks.tracking import waiting_results
from tasks.tracking.published import Published, load_published

KNOWN = STATE / "mlflow" / "known.json"
_RESULT = (LOCK, METRICS, REPORT)
_SQLITE = "sqlite:///"


def remember(root: Path) -> None:
    """Record the state of the result and the database, which agree now; nothing is recorded for a server.

    Raises:
        GraftError: mlflow.yaml is not valid.
    """
    settings = read_mlflow_settings(root)
    state = _state(root, settings)
    if state:
        write_json(root / KNOWN, state)
    else:
        (root / KNOWN).unlink(missing_ok=True)


def known(root: Path) -> Published | None:
    """What publishing would return if MLflow still holds everything; None if MLflow has to be asked.

    Raises:
        GraftError: mlflow.yaml is not valid.
    """
    published = load_published(root)
    if published is None or published.recorded.problem or published.registration.problem:
        return None
    if any(True for _ in waiting_results.kept(root)):
        return None
    try:
        noted = json.loads((root / KNOWN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not noted or noted != _state(root, read_mlflow_settings(root)):
        return None
    recorded, registration = published.recorded, published.registration
    drift = registration.drift if registration.alias != "champion" else ""  # it concerns the previous champion
    return Published(
        replace(recorded, written=0, found=recorded.found + recorded.written, late=0),
        replace(registration, created=False, drift=drift),
    )


def _state(root: Path, settings: MlflowSettings) -> dict[str, object] | None:
    """Hashes of the result and the settings, and sizes and times of the database's files; None if there are none."""
    database = Path(settings.tracking.uri.removeprefix(_SQLITE))
    if not settings.tracking.uri.startswith(_SQLITE):
        return None
    try:
        content = [hashlib.sha256((root / name).read_bytes()).hexdigest() for name in _RESULT]
        log = database.with_name(f"{database.name}-wal")
        files = [database, *([log] if log.exists() else [])]
        marks = [[file.name, status.st_size, status.st_mtime_ns] for file in files if (status := file.stat())]
    except OSError:
        return None
    said = hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode()).hexdigest()
    return {"result": content, "settings": said, "database": marks}

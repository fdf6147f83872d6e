"""Whether MLflow is known to hold a result: nothing has changed since it was published, neither here nor there.

To ask MLflow takes seconds, most of them to import it. A database in a file tells by its size and time whether anything
was written; a server has to be asked.
"""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

from tasks.common.environment import STATE
from tasks.common.files import write_json
from tasks.settings.mlflow import MlflowSettings, read_mlflow_settings
from tasks.tracking import waiting_results
from tasks.tracking.published import Published, load_published

KNOWN = Path(STATE) / "mlflow" / "known.json"
_RESULT = ("dvc.lock", "reports/metrics.json", "reports/index.html")
_SQLITE = "sqlite:///"


def remember(root: Path) -> None:
    """Note how result and database are now that both agree; a server is not remembered.

    Raises:
        GraftError: mlflow.yaml cannot be used.
    """
    settings = read_mlflow_settings(root)
    state = _state(root, settings)
    if state:
        write_json(root / KNOWN, state)
    else:
        (root / KNOWN).unlink(missing_ok=True)


def known(root: Path) -> Published | None:
    """What publishing would say again, if it would find all there; None where MLflow has to be asked.

    Raises:
        GraftError: mlflow.yaml cannot be used.
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
    drift = registration.drift if registration.alias != "champion" else ""  # it is told of the champion of before
    return Published(
        replace(recorded, written=0, found=recorded.found + recorded.written, late=0),
        replace(registration, created=False, drift=drift),
    )


def _state(root: Path, settings: MlflowSettings) -> dict[str, object] | None:
    """Hashes of result and settings with the marks of the database file; None where there is no such file."""
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

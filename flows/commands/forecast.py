"""`graft forecast`: bring the forecast up to date, and show it."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from flows.views.forecast import forecast_view
from flows.views.progress import progress
from tasks.checks.survey import survey
from tasks.common.errors import GraftError
from tasks.executor.one_run_at_a_time import turn
from tasks.executor.resources.gpus import find_devices
from tasks.results.read import read_summary
from tasks.settings.forecast import OWN, ForecastSettings
from tasks.settings.yaml_sections import read_section

FORECAST = Path("build/forecast/forecast.json")


def show_forecast(root: Path, console: Console, folders: Sequence[Path] = ()) -> None:
    """Bring the forecast up to date and print it; `folders` hold further source models, ranked next to the others.

    Raises:
        GraftError: the data, a model or params.yaml cannot be used.
    """
    with turn(root), survey(root, None, find_devices()) as surveyed:
        with console.status("checking the data") as shown:
            surveyed.data(update=False, on_line=shown.update)
        stages = surveyed.stages("forecast")
        if any(stage.state != "up_to_date" for stage in stages):
            with progress(console, [stage.name for stage in stages]):
                surveyed.pipeline.run(["forecast"])
            console.print()
    found = json.loads((root / FORECAST).read_text(encoding="utf-8"))
    if folders or _replaced(root, found):
        with console.status("looking through the other models"):
            found = _forecast_anew(root, folders)
    console.print(forecast_view(found, _result(root)))


def _result(root: Path) -> dict[str, Any] | None:
    """The result of the last run, if there is one that can be read."""
    try:
        return read_summary(root)
    except GraftError:
        return None


def _settings(root: Path) -> ForecastSettings:
    return read_section(root / "params.yaml", "forecast", ForecastSettings)


def _replaced(root: Path, forecast: dict[str, Any]) -> bool:
    """Whether a folder of `forecast.models`, which DVC does not watch, holds other weights than those looked at."""
    for name, folder in _settings(root).models.items():
        file = root / folder / "model.safetensors"
        known = forecast["models"].get(name, {}).get("weights_sha256")
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != known:
            return True
    return False


def _forecast_anew(root: Path, folders: Sequence[Path]) -> dict[str, Any]:
    """The forecast with further models, made in this process and written nowhere."""
    from tasks.forecast import forecast
    from tasks.stage.process import make_deterministic

    if problems := [f"{folder}: no model.json there" for folder in folders if not (folder / "model.json").is_file()]:
        raise GraftError(problems, "A source model is a folder with model.safetensors and model.json.")
    settings = _settings(root)
    names = [folder.resolve().name for folder in folders]
    taken = Counter([OWN, *settings.models, *names])
    further = {n if taken[n] == 1 else str(folder): folder for n, folder in zip(names, folders, strict=True)}
    make_deterministic(0)
    return forecast(root, settings, further)

"""`graft forecast`: bring the forecast up to date, and show it."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from flows.views.forecast import forecast_view
from flows.views.progress import progress
from tasks.checks.survey import survey
from tasks.common.errors import GraftError
from tasks.common.places import PARAMS
from tasks.executor.one_run_at_a_time import turn
from tasks.executor.resources.gpus import find_devices
from tasks.results.forecast_file import Forecast, read_forecast
from tasks.results.metrics_file import Summary, read_summary
from tasks.settings.forecast import OWN, ForecastSettings
from tasks.settings.yaml_sections import read_section


def show_forecast(root: Path, console: Console, folders: Sequence[Path] = ()) -> None:
    """Bring the forecast up to date and print it; `folders` hold further source models to rank with the others.

    Raises:
        GraftError: the data, a model or params.yaml is not valid.
    """
    with turn(root), survey(root, None, find_devices()) as surveyed:
        with console.status("checking the data") as shown:
            surveyed.data(update=False, on_line=shown.update)
        stages = surveyed.stages("forecast")
        if any(stage.state != "up_to_date" for stage in stages):
            with progress(console, [stage.name for stage in stages]):
                surveyed.pipeline.run(["forecast"])
            console.print()
    found = read_forecast(root)
    if folders or _replaced(root, found):
        with console.status("ranking the further models"):
            found = _forecast_again(root, folders)
    console.print(forecast_view(found, _result(root)))


def _result(root: Path) -> Summary | None:
    """The result of the last run; None if there is none that can be read."""
    try:
        return read_summary(root)
    except GraftError:
        return None


def _settings(root: Path) -> ForecastSettings:
    return read_section(root / PARAMS, "forecast", ForecastSettings)


def _replaced(root: Path, forecast: Forecast) -> bool:
    """Whether the weights in a folder of `forecast.models`, which DVC does not track, have changed since they were
    ranked."""
    for name, folder in _settings(root).models.items():
        file = root / folder / "model.safetensors"
        known = forecast.models.get(name)
        if not (known and file.is_file()) or hashlib.sha256(file.read_bytes()).hexdigest() != known.weights_sha256:
            return True
    return False


def _forecast_again(root: Path, folders: Sequence[Path]) -> Forecast:
    """The forecast with further models, made in this process and written nowhere."""
    from tasks.forecast import forecast
    from tasks.stage.process import make_deterministic

    if problems := [f"{folder}: contains no model.json" for folder in folders if not (folder / "model.json").is_file()]:
        raise GraftError(problems, "A source model is a folder with model.safetensors and model.json.")
    settings = _settings(root)
    names = [folder.resolve().name for folder in folders]
    taken = Counter([OWN, *settings.models, *names])
    further = {n if taken[n] == 1 else str(folder): folder for n, folder in zip(names, folders, strict=True)}
    make_deterministic(0)
    return forecast(root, settings, further)

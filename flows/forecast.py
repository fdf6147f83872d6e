"""The forecast in the terminal: words first, numbers after, and what to do next."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from flows.display import progress
from flows.leaderboard import STYLES
from flows.running import have_data
from tasks import events
from tasks.errors import GraftError
from tasks.forecasting import (
    EXPECTED,
    gap_in_numbers,
    gap_in_words,
    own,
    ranking_in_words,
    rightness,
    warning,
)
from tasks.parameters import read_section
from tasks.pipeline import Pipeline
from tasks.readiness import make_ready
from tasks.report.words import SYMBOLS, interval, labels_in_words, percent, points, short
from tasks.settings.forecast import OWN, ForecastSettings
from tasks.summary_view import read_summary

FORECAST = Path("build/forecast/forecast.json")

_EXPLAINED = (
    "Means over seeds; the lift is over untrained bodies. Probe: ridge regression on the features, tested on the "
    "labels to choose by. Scratch beats an untrained body, so frozen features gain less over it than their lift."
)


def show_forecast(root: Path, console: Console, folders: Sequence[Path] = ()) -> None:
    """Bring the forecast up to date and print it; `folders` hold further source models, ranked beside the others.

    Raises:
        GraftError: the data, a model or params.yaml cannot be used.
    """
    make_ready(root)
    have_data(root, console)
    stages = Pipeline(root).status(["forecast"])
    if any(stage.state != "up_to_date" for stage in stages):
        with progress(console, [stage.name for stage in stages]):
            Pipeline(root, on_event=events.tell).run(["forecast"])
        console.print()
    found = json.loads((root / FORECAST).read_text(encoding="utf-8"))
    if folders or _replaced(root, found):
        with console.status("looking through the other models"):
            found = _forecast_anew(root, folders)
    console.print(forecast_view(found, _result(root)))


def forecast_view(forecast: dict[str, Any], result: dict[str, Any] | None) -> RenderableType:
    """All that is known before a trial runs, and how right it was if `result` (reports/metrics.json) tells."""
    parts: list[RenderableType] = [Text(gap_in_words(forecast), "bold")]
    if warned := warning(forecast):
        parts.append(Text(warned, "yellow"))
    parts += [_expectations(forecast), Text(ranking_in_words(forecast), "bold")]
    if len(forecast["ranking"]) > 1:
        parts.append(_ranking(forecast))
    if own(forecast)["budgets"]:
        parts += [_scores(forecast), Text(_EXPLAINED, "dim")]
    if forecast["gap"] is not None:
        parts.append(Text(gap_in_numbers(forecast["gap"]), "dim"))
    parts += ["", *_afterwards(result)]
    return Group(*(part for part in parts if part != Text("")))


def _expectations(forecast: dict[str, Any]) -> Table:
    table = Table.grid(padding=(0, 1))
    for row in own(forecast)["budgets"]:
        verdict, lift = row["expected"], points(row["lift"]["probe"]["mean"])
        said = Text(f"{SYMBOLS[verdict]} {EXPECTED[verdict]}", STYLES[verdict])
        table.add_row(f"{labels_in_words(row['labels'])}:", said, f"({lift} points over an untrained body)")
    return table


def _scores(forecast: dict[str, Any]) -> Table:
    """The scores of the project's own model, a row a label budget."""
    table = _table("labels", "LogME", "H-score", "LEEP", "NCE", "probe %", "lift, points")
    for row in own(forecast)["budgets"]:
        lift = row["lift"]
        table.add_row(
            str(row["labels"]),
            f"{row['source']['logme']:.2f} ({lift['logme']['mean']:+.2f})",
            *(_number(row["source"][name]) for name in ("h_score", "leep", "nce")),
            percent(row["source"]["probe"]),
            f"{points(lift['probe']['mean'])} {interval(lift['probe'])}",
        )
    return table


def _ranking(forecast: dict[str, Any]) -> Table:
    """Every source model at the largest label budget, best first."""
    table = _table("source model", "LogME", "H-score", "LEEP", "NCE", "probe %", "lift, points")
    for name in forecast["ranking"]:
        row = forecast["models"][name]["budgets"][-1]
        scores = [_number(row["source"][score]) for score in ("logme", "h_score", "leep", "nce")]
        lift = row["lift"]["probe"]
        table.add_row(short(name, 24), *scores, percent(row["source"]["probe"]), points(lift["mean"]))
    return table


def _number(value: float | None) -> str:
    """With two decimals; a dash for what a network without a head cannot say."""
    return "–" if value is None else f"{value:.2f}"


def _table(first: str, *others: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False, collapse_padding=True)
    table.add_column(first, justify="left")
    for heading in others:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _afterwards(result: dict[str, Any] | None) -> list[RenderableType]:
    """How right the forecast was, or what to do to find out."""
    if result is None:
        return [Text.assemble("What it is really worth: ", ("graft run", "bold"))]
    scored = result.get("forecast") or {}
    lines: list[RenderableType] = [Text(f"  {rightness(name, score)}") for name, score in scored.items()]
    return [Text("How right it was (a cell is a label budget with a seed)", "bold"), *lines] if lines else []


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
    from tasks.stage import make_deterministic

    if problems := [f"{folder}: no model.json there" for folder in folders if not (folder / "model.json").is_file()]:
        raise GraftError(problems, "A source model is a folder with model.safetensors and model.json.")
    settings = _settings(root)
    names = [folder.resolve().name for folder in folders]
    taken = Counter([OWN, *settings.models, *names])
    further = {n if taken[n] == 1 else str(folder): folder for n, folder in zip(names, folders, strict=True)}
    make_deterministic(0)
    return forecast(root, settings, further)

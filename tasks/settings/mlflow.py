"""Read `mlflow.yaml`: the server, the experiment, the registered model and the promotion gate.

Neither MLflow nor torch is imported here, so an invalid file is reported at once.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args, get_type_hints

from annotated_types import Ge, Le, MinLen

from graft.settings import Metric
from tasks.common.errors import GraftError
from tasks.common.places import MLFLOW, STATE
from tasks.common.urls import split_address, without_password
from tasks.common.yaml_files import load_yaml
from tasks.settings.yaml_sections import parse, suggest

SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql")

Name = Annotated[str, MinLen(1)]


@dataclass(frozen=True)
class Tracking:
    """Where runs are recorded."""

    uri: Name = f"sqlite:///{STATE}/mlflow/mlflow.db"
    """Where runs are recorded: `sqlite:///FILE` (in the project), `http(s)://HOST:PORT` of an MLflow server, or
    a database such as `postgresql://…`."""
    artifacts: Name = f"{STATE}/mlflow/artifacts"
    """Where figures, reports and models are kept: a folder (relative to the project) or a store such as
    `s3://bucket/path`. An MLflow server decides this itself."""
    experiment: Name = "graft"
    """The experiment that all runs of the project are recorded in."""


@dataclass(frozen=True)
class Promotion:
    """The requirements that a candidate must meet to become the champion."""

    require: Literal["positive", "not_negative"] = "positive"
    """The verdict of the candidate's strategy: its gain over `scratch` is positive with the interval above zero, or is
    not proven negative."""
    metric: Literal["lead", Metric] = "lead"
    """What must be better than the champion's on the same test set; `lead` is the metric that leads the comparison of
    strategies (`evaluate.metric`)."""
    margin: Annotated[float, Ge(0.0), Le(1.0)] = 0.0
    """By how much it must be better; 0.01 is one percentage point."""
    seeds: Annotated[int, Ge(1)] = 3
    """How many seeds the verdict needs at least."""


@dataclass(frozen=True)
class Registry:
    """The name under which models are registered, and the gate."""

    model: Name = "graft"
    """The name under which candidates are registered, without / : ' and \"."""
    promotion: Promotion = field(default_factory=Promotion)


@dataclass(frozen=True)
class Ui:
    """Where `graft ui` listens."""

    host: Name = "127.0.0.1"
    """The address that `graft ui` listens on. Keep it on this machine: the page has no password."""
    port: Annotated[int, Ge(1), Le(65535)] = 5000
    """The port; the next free one if it is busy."""


@dataclass(frozen=True)
class MlflowSettings:
    """All of `mlflow.yaml`, overridden by the environment; locations are absolute."""

    tracking: Tracking = field(default_factory=Tracking)
    registry: Registry = field(default_factory=Registry)
    ui: Ui = field(default_factory=Ui)

    @property
    def remote(self) -> bool:
        """Whether the runs are on an MLflow server, not in a database that Graft opens itself."""
        return self.tracking.uri.startswith(("http://", "https://"))


VARIABLES = {
    "MLFLOW_TRACKING_URI": "tracking.uri",
    "GRAFT_MLFLOW_ARTIFACTS": "tracking.artifacts",
    "MLFLOW_EXPERIMENT_NAME": "tracking.experiment",
    "GRAFT_MODEL": "registry.model",
    "GRAFT_PROMOTION_REQUIRE": "registry.promotion.require",
    "GRAFT_PROMOTION_METRIC": "registry.promotion.metric",
    "GRAFT_PROMOTION_MARGIN": "registry.promotion.margin",
    "GRAFT_PROMOTION_SEEDS": "registry.promotion.seeds",
    "GRAFT_UI_HOST": "ui.host",
    "GRAFT_UI_PORT": "ui.port",
}
"""Environment variable -> the key that it overrides."""


def read_mlflow_settings(root: Path, environment: Mapping[str, str] | None = None) -> MlflowSettings:
    """The settings of the project in `root`; `environment` defaults to the process's own.

    Raises:
        GraftError: unknown keys, invalid values, or a password in the file; lists all of them.
    """
    environment = os.environ if environment is None else environment
    problems: list[str] = []
    values = _from_file(root / MLFLOW, problems)
    for variable, key in VARIABLES.items():
        if environment.get(variable):
            _override(values, key, _from_text(environment[variable], key, variable, problems))
    problems += [*_bad_uri(values["tracking"]["uri"]), *_bad_model(values["registry"]["model"])]
    if problems:
        raise GraftError(problems)
    values["tracking"]["uri"] = _absolute_uri(root, values["tracking"]["uri"])
    values["tracking"]["artifacts"] = _absolute_location(root, values["tracking"]["artifacts"])
    if problems := [*_undecodable(values["tracking"])]:
        raise GraftError(problems, "Move the project, or set another location.")
    return cast(MlflowSettings, parse(values, MlflowSettings, where=str(MLFLOW)))


def _from_file(path: Path, problems: list[str]) -> dict[str, Any]:
    """The values of the file, with defaults filled in; its problems are added to `problems`."""
    content = load_yaml(path)
    sections = get_type_hints(MlflowSettings)
    unknown = sorted(str(key) for key in content.keys() - sections)
    problems += [f"{MLFLOW}: {key}: unknown section; {suggest(key, sections)}" for key in unknown]
    values = asdict(MlflowSettings())
    for name, kind in sections.items():
        section = _collect(content.get(name) or {}, kind, f"{MLFLOW}: {name}", problems)
        values[name] = asdict(section or kind())
    problems += _secrets(values["tracking"]["uri"])
    return values


def _collect(values: object, kind: Any, where: str, problems: list[str]) -> Any:
    """`values` as a `kind`, or None with the problems added to `problems`."""
    try:
        return parse(values, kind, where=where)
    except GraftError as error:
        problems += error.problems
        return None


def _from_text(text: str, key: str, variable: str, problems: list[str]) -> Any:
    """An environment variable as the type of its key, or None with the problem added to `problems`."""
    kind: Any = MlflowSettings
    for part in key.split("."):
        kind = get_type_hints(kind, include_extras=True)[part]
    value: object = text
    if get_args(kind)[0] in (int, float):
        with suppress(ValueError):
            value = float(text) if get_args(kind)[0] is float else int(text)
    return _collect(value, kind, f"{variable} (for {key})", problems)


def _override(values: dict[str, Any], key: str, value: object) -> None:
    *path, last = key.split(".")
    for part in path:
        values = values[part]
    if value is not None:
        values[last] = value


def _secrets(uri: str) -> list[str]:
    """Refuse a password: the file is in git."""
    if not split_address(uri).password:
        return []
    return [
        f"{MLFLOW}: tracking.uri: contains a password; remove it and set the whole address in the environment variable "
        "MLFLOW_TRACKING_URI, or only the password in MLFLOW_TRACKING_PASSWORD"
    ]


def _bad_uri(uri: str) -> list[str]:
    where = f"{MLFLOW}: tracking.uri (or MLFLOW_TRACKING_URI): {without_password(uri)!r}"
    if split_address(uri).scheme.partition("+")[0] not in SCHEMES:
        return [f"{where} is not valid; valid: sqlite:///FILE, or an address starting with {', '.join(SCHEMES[1:])}"]
    if uri.startswith("sqlite:") and uri.removeprefix("sqlite://").strip("/") in ("", ":memory:"):
        return [f"{where} names no file; use one such as sqlite:///.graft/mlflow/mlflow.db"]
    return []


def _undecodable(tracking: Mapping[str, str]) -> Iterator[str]:
    """Refuse % in paths: MLflow decodes %20, and would write files into another folder than it reads them from."""
    for key in ("uri", "artifacts"):
        place = tracking[key]
        if "%" in place and place.startswith(("sqlite:", "/")):
            yield f"{MLFLOW}: tracking.{key}: {place}: MLflow cannot use a path with a % in it"


def _bad_model(name: str) -> list[str]:
    if name.strip() and not set(name) & set("/:'\""):
        return []
    return [
        f"{MLFLOW}: registry.model (or GRAFT_MODEL): {name!r} is not a valid name: it must not be empty or contain "
        "/ : ' or \""
    ]


def _absolute_uri(root: Path, uri: str) -> str:
    path = uri.removeprefix("sqlite:///")
    return uri if path == uri else f"sqlite:///{(root / path).resolve()}"


def _absolute_location(root: Path, location: str) -> str:
    return location if "://" in location else str((root / location).resolve())

"""Read `prefect.yaml`: the deployments, their schedules and parameters. Prefect is not imported here.

Prefect reads the same file (`prefect deploy`), and has further keys, which are ignored here. It reads with PyYAML, in
which `on` is true and `1e3` is text; so does Graft, for this file alone, so that both serve the same deployments.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import yaml
from annotated_types import Ge, Gt, MinLen

from tasks.common.errors import GraftError
from tasks.common.places import PREFECT
from tasks.common.yaml_files import StrictKeys, load_yaml
from tasks.settings.yaml_sections import parse

Name = Annotated[str, MinLen(1)]


@dataclass(frozen=True)
class DeploymentSchedule:
    """When a deployment runs; one of cron, interval and rrule."""

    cron: Name | None = None
    """A cron line, such as `0 2 * * *`."""
    interval: Annotated[float, Gt(0.0)] | None = None
    """Seconds between two runs."""
    rrule: Name | None = None
    """A recurrence rule of iCalendar (RFC 5545)."""
    timezone: Name | None = None
    """Time zone of `cron` and `rrule`, such as `Europe/Berlin`; without one, UTC."""
    active: bool = True
    """Whether it runs; `false` pauses the schedule."""

    @property
    def kinds(self) -> list[str]:
        """Those of the three that are given."""
        return [name for name in ("cron", "interval", "rrule") if getattr(self, name) is not None]


@dataclass(frozen=True)
class Pool:
    """The work pool of a deployment."""

    name: Name = "graft"
    """For `graft schedule --deploy`; `graft schedule` needs none."""


@dataclass(frozen=True)
class Deployment:
    """The flow with a schedule and parameters."""

    name: Name
    """Name of the deployment, as Prefect's page shows it."""
    description: str = ""
    """Description, shown on Prefect's page."""
    schedules: list[DeploymentSchedule] = field(default_factory=list)
    """With none, the flow runs only when it is started by hand."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Parameters of the flow: `update_data`, `if_busy`, `jobs`, `devices`, `root`."""
    work_pool: Pool = field(default_factory=Pool)
    tags: list[str] = field(default_factory=list)
    """Tags of its runs."""
    concurrency_limit: Annotated[int, Ge(1)] | None = None
    """How many of its runs Prefect lets run at once."""


def read_deployments(root: Path) -> list[Deployment]:
    """The deployments of the project in `root`.

    Raises:
        GraftError: there are none, or values are not valid; lists all problems.
    """
    given = load_yaml(root / PREFECT, _as_prefect).get("deployments")
    if not isinstance(given, list) or not given:
        raise GraftError(f"{PREFECT}: deployments: expected a list of at least one, got {given!r}")
    ours = [_ours(entry) for entry in given]
    found: list[Deployment] = parse(ours, list[Deployment], where=f"{PREFECT}: deployments")
    problems = [
        f"{PREFECT}: deployment {deployment.name}, schedule {place}: give one of cron, interval and rrule, "
        f"got {', '.join(schedule.kinds) or 'none'}"
        for deployment in found
        for place, schedule in enumerate(deployment.schedules, 1)
        if len(schedule.kinds) != 1
    ]
    if problems:
        raise GraftError(problems)
    return found


class _PrefectLoader(StrictKeys, yaml.SafeLoader):
    pass


def _as_prefect(text: str) -> Any:
    return yaml.load(text, Loader=_PrefectLoader)  # noqa: S506  (a SafeLoader)


def _ours(entry: object) -> object:
    """An entry without the keys that only Prefect uses."""
    if not isinstance(entry, dict):
        return entry
    known = {name: value for name, value in entry.items() if name in Deployment.__dataclass_fields__}
    if isinstance(pool := known.get("work_pool"), dict):
        known["work_pool"] = {"name": pool.get("name", Pool.name)}
    return known

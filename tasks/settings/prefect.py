"""Read `prefect.yaml`: which deployments there are, when they run, with which parameters. Prefect is not imported here.

Prefect reads the same file (`prefect deploy`), and knows more keys; those are left to it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Gt, MinLen

from tasks.common.errors import GraftError
from tasks.settings.yaml_sections import load_yaml, parse

FILE = "prefect.yaml"

Name = Annotated[str, MinLen(1)]


@dataclass(frozen=True)
class Schedule:
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
        """Which of the three are given."""
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
    schedules: list[Schedule] = field(default_factory=list)
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
        GraftError: there are none, or values do not fit; all of them.
    """
    given = load_yaml(root / FILE).get("deployments")
    if not isinstance(given, list) or not given:
        raise GraftError(f"{FILE}: deployments: expected a list of at least one, got {given!r}")
    ours = [_ours(entry) for entry in given]
    found: list[Deployment] = parse(ours, list[Deployment], where=f"{FILE}: deployments")
    problems = [
        f"{FILE}: deployment {deployment.name}, schedule {place}: give one of cron, interval and rrule, "
        f"got {', '.join(schedule.kinds) or 'none'}"
        for deployment in found
        for place, schedule in enumerate(deployment.schedules, 1)
        if len(schedule.kinds) != 1
    ]
    if problems:
        raise GraftError(problems)
    return found


def _ours(entry: object) -> object:
    """An entry without the keys that are Prefect's alone."""
    if not isinstance(entry, dict):
        return entry
    known = {name: value for name, value in entry.items() if name in Deployment.__dataclass_fields__}
    if isinstance(pool := known.get("work_pool"), dict):
        known["work_pool"] = {"name": pool.get("name", Pool.name)}
    return known

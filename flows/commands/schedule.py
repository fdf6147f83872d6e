"""`graft schedule`: run the flow by itself, on this machine or in a work pool."""

import asyncio
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from rich.console import Console

from flows.prefect_server import PORT, check_prefect, persistent_server
from tasks.checks.project import check_files
from tasks.common.errors import GraftError
from tasks.common.local_server import running
from tasks.common.parent_death import SERVICE
from tasks.common.urls import without_password
from tasks.executor.processes.runner import shared_by_runs
from tasks.settings.prefect import FILE, Deployment, Schedule, read_deployments

SKIPPED = "Skipped"
"""What the flow calls the state of a run that was left out, because another worked in the project."""
PAGE = 200
"""Runs that Prefect tells at a time."""
MOST_STARTS = 3
"""How often a run is begun that the end of the service broke off."""


def serve(root: Path, console: Console, *, port: int = PORT) -> None:
    """Serve the deployments of `prefect.yaml` until Ctrl-C or SIGTERM.

    Unless PREFECT_API_URL names a server, one is started on loopback; its database is the project's, so that its runs
    are there again the next time. A run is a process of its own: one that fails or is killed takes nothing with it. All
    end with the service, however that ends.

    Raises:
        GraftError: a file of the project cannot be used, or the server does not start.
    """
    check_files(root)
    deployments = read_deployments(root)
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        url = os.environ.get("PREFECT_API_URL")
        if url:
            check_prefect()
        else:
            server = persistent_server(root, port)
            stack.enter_context(running(server, lambda text: console.print(text, highlight=False)))
            url = os.environ["PREFECT_API_URL"] = f"{server.url}/api"
        _serve(root, deployments, console, url)


def deploy(root: Path, console: Console) -> None:
    """Put the deployments of `prefect.yaml` into their work pools, which are made if they are missing.

    Raises:
        GraftError: a file of the project cannot be used, or Prefect refuses.
    """
    check_files(root)
    pools = sorted({deployment.work_pool.name for deployment in read_deployments(root)})
    if not os.environ.get("PREFECT_API_URL"):
        raise GraftError(
            "PREFECT_API_URL is not set, so there is no server that has work pools",
            "Start one (prefect server start) and set PREFECT_API_URL=http://127.0.0.1:4200/api, or run `graft "
            "schedule`, which brings its own.",
        )
    for pool in pools:
        if _prefect(root, "work-pool", "inspect", pool).returncode:
            _must(_prefect(root, "work-pool", "create", pool, "--type", "process"))
    _must(_prefect(root, "--no-prompt", "deploy", "--all"))
    for pool in pools:
        console.print(f"Deployed to the work pool {pool}. Who works for it: prefect worker start --pool {pool}")


def _serve(root: Path, deployments: list[Deployment], console: Console, url: str) -> None:
    from prefect.deployments.runner import RunnerDeployment
    from prefect.runner import Runner
    from prefect.types.entrypoint import EntrypointType

    from flows.transfer import transfer

    made: list[RunnerDeployment] = []
    for deployment in deployments:
        try:
            made.append(
                RunnerDeployment.from_flow(
                    transfer,
                    name=deployment.name,
                    description=deployment.description,
                    schedules=[_schedule(schedule) for schedule in deployment.schedules],
                    parameters={"root": str(root), **deployment.parameters},
                    tags=deployment.tags,
                    concurrency_limit=deployment.concurrency_limit,
                    entrypoint_type=EntrypointType.MODULE_PATH,
                )
            )
        except ValueError as error:  # of pydantic: a cron line or a time zone that is none
            raise GraftError(f"{FILE}: deployment {deployment.name}: {_first_line(error)}") from None
    names = ", ".join(f"transfer/{deployment.name}" for deployment in deployments)
    console.print(f"Serving {names} at {without_password(url).removesuffix('/api')} (Ctrl-C ends it).", highlight=False)
    console.print(f"Run one now: prefect deployment run '{names.split(', ')[0]}'", highlight=False)
    # It must not pause what it serves when it ends: a restart would miss what was due meanwhile.
    runner = Runner(name=f"graft {root.name}", pause_on_shutdown=False)
    runner.handle_sigterm = _interrupt  # type: ignore[method-assign]  # its own never awaits the end of its runs
    for deployment, each in zip(deployments, made, strict=True):
        _require_ours(deployment.name, root)
        go_on(cast(UUID, runner.add_deployment(each)))  # it is a coroutine in coroutines alone
    os.environ[SERVICE] = str(os.getpid())  # runs end with it
    with shared_by_runs():
        asyncio.run(runner.start())


def _require_ours(name: str, root: Path) -> None:
    """Refuse to take a deployment over from another project on the same server.

    Raises:
        GraftError: it runs in another folder.
    """
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    try:
        found = get_client(sync_client=True).read_deployment_by_name(f"transfer/{name}")
    except ObjectNotFound:
        return
    theirs = found.parameters.get("root")
    if theirs not in (None, str(root)):
        raise GraftError(
            f"{FILE}: deployment {name}: the server has one of that name already, of the project in {theirs}",
            f"Give it another name in {FILE}.",
        )


def go_on(deployment: UUID) -> None:
    """Settle what the service left of a deployment's runs when it ended last, however it ended.

    Of those that it broke off and those that were missed since the last one that came to its end, the newest stands for
    all: it runs now, and DVC skips what was done. One that was broken off too often is given up.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import DeploymentFilter
    from prefect.client.schemas.objects import FlowRun, StateType
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.states import Cancelled, Crashed, Scheduled

    client = get_client(sync_client=True)

    def newest_first() -> Iterator[FlowRun]:
        for page in itertools.count():
            found = client.read_flow_runs(
                deployment_filter=DeploymentFilter.model_validate({"id": {"any_": [deployment]}}),
                sort=FlowRunSort.EXPECTED_START_TIME_DESC,
                limit=PAGE,
                offset=page * PAGE,
            )
            yield from found
            if len(found) < PAGE:
                return

    now = datetime.now(UTC)
    due: list[FlowRun] = []
    for run in newest_first():
        if run.state_type in (StateType.COMPLETED, StateType.FAILED) and run.state_name != SKIPPED:
            break
        stood_for = run.state_name == SKIPPED or run.state_type == StateType.CANCELLED
        is_to_come = run.state_type == StateType.SCHEDULED and (run.expected_start_time or now) >= now
        if not (stood_for or is_to_come):
            due.append(run)
    for place, run in enumerate(due):
        if place:
            said = f"The service was down; {due[0].name} stands for it."
            client.set_flow_run_state(run.id, Cancelled(name="Missed", message=said), force=True)
        elif run.run_count < MOST_STARTS:
            said = "The service was down; it runs now."
            client.set_flow_run_state(run.id, Scheduled(message=said), force=True)
        else:
            said = f"It was begun {run.run_count} times, and the service was ended in its midst."
            client.set_flow_run_state(run.id, Crashed(message=said), force=True)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _schedule(schedule: Schedule) -> Any:
    from prefect.schedules import Cron, Interval, RRule

    zone, active = schedule.timezone, schedule.active
    if schedule.cron is not None:
        return Cron(schedule.cron, timezone=zone, active=active)
    if schedule.interval is not None:
        return Interval(schedule.interval, timezone=zone, active=active)
    assert schedule.rrule is not None, "one of the three is given"
    return RRule(schedule.rrule, timezone=zone, active=active)


def _prefect(root: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "prefect", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def _must(done: "subprocess.CompletedProcess[str]") -> None:
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise GraftError("Prefect refuses: " + " ".join(line.strip() for line in said[-3:]))


def _first_line(error: ValueError) -> str:
    errors = getattr(error, "errors", None)
    return str(errors()[0]["msg"]) if errors else str(error).splitlines()[0]

"""`graft schedule`: run the flow on its schedules, on this machine or in a work pool."""

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
from tasks.common.places import PREFECT
from tasks.common.urls import without_password
from tasks.executor.processes.runner import shared_by_runs
from tasks.settings.prefect import Deployment, DeploymentSchedule, read_deployments

SKIPPED = "Skipped"
"""State name of a run that the flow skipped because another one was active in the project."""
PAGE = 200
"""Runs per page of Prefect's answers."""
MOST_STARTS = 3
"""How often a run is started that was interrupted when the service ended."""


def serve(root: Path, console: Console, *, port: int = PORT) -> None:
    """Serve the deployments of `prefect.yaml` until Ctrl-C or SIGTERM.

    Unless PREFECT_API_URL names a server, one is started on loopback; its database is the project's, so that earlier
    runs are still listed the next time. Each run is a separate process: if it fails or is killed, nothing else is
    affected. All runs end with the service, however it ends.

    Raises:
        GraftError: a file of the project is not valid, or the server does not start.
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
    """Deploy the deployments of `prefect.yaml` to their work pools, which are created if missing.

    Raises:
        GraftError: a file of the project is not valid, or Prefect reports an error.
    """
    check_files(root)
    pools = sorted({deployment.work_pool.name for deployment in read_deployments(root)})
    if not os.environ.get("PREFECT_API_URL"):
        raise GraftError(
            "PREFECT_API_URL is not set, so there is no server with work pools",
            "Start one with `prefect server start` and set PREFECT_API_URL=http://127.0.0.1:4200/api, or run `graft "
            "schedule`, which starts its own server.",
        )
    for pool in pools:
        if _prefect(root, "work-pool", "inspect", pool).returncode:
            _must(_prefect(root, "work-pool", "create", pool, "--type", "process"))
    _must(_prefect(root, "--no-prompt", "deploy", "--all"))
    for pool in pools:
        console.print(f"Deployed to the work pool {pool}. Start a worker with: prefect worker start --pool {pool}")


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
        except ValueError as error:  # of pydantic: an invalid cron line or time zone
            raise GraftError(f"{PREFECT}: deployment {deployment.name}: {_first_line(error)}") from None
    names = ", ".join(f"transfer/{deployment.name}" for deployment in deployments)
    console.print(
        f"Serving {names} at {without_password(url).removesuffix('/api')} (Ctrl-C stops it).", highlight=False
    )
    console.print(f"Run one now with: prefect deployment run '{names.split(', ')[0]}'", highlight=False)
    # It must not pause its deployments when it ends: a restart would miss the runs that were due meanwhile.
    runner = Runner(name=f"graft {root.name}", pause_on_shutdown=False)
    runner.handle_sigterm = _interrupt  # type: ignore[method-assign]  # Prefect's own handler never awaits the end of its runs
    for deployment, each in zip(deployments, made, strict=True):
        _require_ours(deployment.name, root)
        go_on(cast(UUID, runner.add_deployment(each)))  # a coroutine only when called inside one
    os.environ[SERVICE] = str(os.getpid())  # runs end with this process
    with shared_by_runs():
        asyncio.run(runner.start())


def _require_ours(name: str, root: Path) -> None:
    """Refuse to replace a deployment of another project on the same server.

    Raises:
        GraftError: a deployment with this name runs in another folder.
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
            f"{PREFECT}: deployment {name}: the server already has one with that name, of the project in {theirs}",
            f"Choose another name in {PREFECT}.",
        )


def go_on(deployment: UUID) -> None:
    """Settle a deployment's runs that were interrupted or missed when the service ended last.

    Of the runs interrupted or missed since the last finished one, the newest replaces all others: it runs now, and DVC
    skips what was done before. A run that was interrupted too often is given up.
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
            said = f"The service was down; {due[0].name} runs in its place."
            client.set_flow_run_state(run.id, Cancelled(name="Missed", message=said), force=True)
        elif run.run_count < MOST_STARTS:
            said = "The service was down; it runs now."
            client.set_flow_run_state(run.id, Scheduled(message=said), force=True)
        else:
            said = f"It was started {run.run_count} times, and the service ended during each of them."
            client.set_flow_run_state(run.id, Crashed(message=said), force=True)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _schedule(schedule: DeploymentSchedule) -> Any:
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
        raise GraftError("Prefect reports an error: " + " ".join(line.strip() for line in said[-3:]))


def _first_line(error: ValueError) -> str:
    errors = getattr(error, "errors", None)
    return str(errors()[0]["msg"]) if errors else str(error).splitlines()[0]

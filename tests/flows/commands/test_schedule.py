"""`graft schedule`, on a real Prefect server: runs come by themselves, and survive the end of the service."""

import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.flows.project import Output, Project, post, send
from tests.house.imports import ROOT
from tests.tasks.support.processes import gone

Runs = list[dict[str, Any]]


@pytest.fixture
def named(project: Project, prefect_api: str) -> Iterator[tuple[Project, str]]:
    """A project with a deployment of its own that runs every six seconds, and the deployment's name."""
    name = f"often-{project.root.parent.name}"
    schedule(project, name, {"interval": 6})
    yield project, name
    for deployment in post(f"{prefect_api}/deployments/filter", {"deployments": {"name": {"any_": [name]}}}):
        urllib.request.urlopen(
            urllib.request.Request(f"{prefect_api}/deployments/{deployment['id']}", method="DELETE"), timeout=30
        ).close()


def schedule(project: Project, name: str, *schedules: dict[str, Any], **parameters: Any) -> None:
    deployment = {"name": name, "entrypoint": "flows/transfer.py:transfer", "schedules": list(schedules)}
    content = {"deployments": [deployment | {"parameters": {"if_busy": "skip", **parameters}}]}
    (project.root / "prefect.yaml").write_text(yaml.safe_dump(content))


def runs(api: str, name: str, *states: str) -> Runs:
    body = {"deployments": {"name": {"any_": [name]}}, "sort": "EXPECTED_START_TIME_ASC"}
    return [run for run in post(f"{api}/flow_runs/filter", body) if run["state_name"] in states]


def wait_for(condition: Callable[[], Any], seconds: float = 300) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.5)
    pytest.fail("it did not happen")


def run_from_the_page(api: str, name: str) -> dict[str, Any]:
    """Ask for a run as Prefect's page does: from the schema of the parameters, and with values that it checks."""
    (deployment,) = post(f"{api}/deployments/filter", {"deployments": {"name": {"any_": [name]}}})
    fields = deployment["parameter_openapi_schema"]["properties"]
    assert fields.keys() == {"root", "jobs", "update_data", "devices", "if_busy"}
    assert fields["if_busy"]["enum"] == ["wait", "skip", "fail"]
    assert all(fields[field]["description"] for field in fields), "the page shows what each is for"
    address = f"{api}/deployments/{deployment['id']}/create_flow_run"
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(address, {"parameters": {"if_busy": "never"}})
    assert "'never' is not one of ['wait', 'skip', 'fail']" in refused.value.read().decode()
    return post(address, {"parameters": {"jobs": 1, "if_busy": "wait"}})


@pytest.mark.slow
def test_runs_come_by_themselves_and_never_two_at_once(named: tuple[Project, str], prefect_api: str) -> None:
    project, name = named
    nightly = {"cron": "0 2 * * *", "timezone": "Europe/Rome"}
    weekly = {"rrule": "FREQ=WEEKLY;BYDAY=MO", "active": False}
    schedule(project, name, {"interval": 6}, nightly, weekly)
    service = project.start("schedule", env={"PREFECT_API_URL": prefect_api})
    try:
        done = wait_for(lambda: runs(prefect_api, name, "Completed"))
        skipped = wait_for(lambda: runs(prefect_api, name, "Skipped"))
        (deployment,) = post(f"{prefect_api}/deployments/filter", {"deployments": {"name": {"any_": [name]}}})
        asked_for = run_from_the_page(prefect_api, name)
    finally:
        service.send_signal(signal.SIGTERM)
        said, _ = service.communicate(timeout=300)
    assert service.returncode == 0, said
    assert f"Serving transfer/{name}" in said
    assert done[0]["parameters"]["root"] == str(project.root)
    assert asked_for["parameters"]["jobs"] == 1
    assert "another run works in this repository" in skipped[0]["state"]["message"]
    planned = {
        key: each
        for each in deployment["schedules"]
        for key in ("interval", "cron", "rrule")
        if key in each["schedule"]
    }
    assert planned["interval"]["schedule"]["interval"] == 6
    assert {key: planned["cron"]["schedule"][key] for key in nightly} == nightly
    assert planned["rrule"]["schedule"]["rrule"].endswith(weekly["rrule"])
    assert not planned["rrule"]["active"]


@pytest.mark.slow
def test_without_a_server_it_brings_its_own_whose_runs_are_there_after_a_restart_and_in_a_backup(
    project: Project, tmp_path: Path
) -> None:
    schedule(project, "own", {"interval": 6})
    first: Runs = []
    for _ in range(2):
        service = project.start("schedule", "--port", "4321")  # or the next one that is free
        output = Output(service)
        try:
            output.after(0, "Serving transfer/own at")
            (url,) = re.findall(r"at (http://127\.0\.0\.1:43\d\d) ", output.text)
            found = wait_for(lambda url=url: runs(f"{url}/api", "own", "Completed"))
            first = first or found[:1]
            assert found[0]["id"] == first[0]["id"]
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(300)
        assert service.returncode == 0, output.text

    (project.root / ".venv/bin").mkdir(parents=True)
    (project.root / ".venv/bin/python").symlink_to(sys.executable)
    subprocess.run(["bash", ROOT / "deploy/backup.sh", project.root, tmp_path], check=True, capture_output=True)
    with sqlite3.connect(tmp_path / ".graft/prefect/prefect.db") as kept:
        completed = kept.execute("select id from flow_run where state_type = 'COMPLETED'").fetchall()
    assert (first[0]["id"],) in completed


@pytest.mark.slow
def test_a_run_that_the_end_of_the_service_broke_off_goes_on_with_the_next(
    named: tuple[Project, str], prefect_api: str
) -> None:
    project, name = named
    env = {"PREFECT_API_URL": prefect_api}
    service = project.start("schedule", env=env)
    broken = wait_for(lambda: runs(prefect_api, name, "Running"))[0]
    service.kill()
    service.communicate()
    schedule(project, name)  # runs that are due by now, and no new ones
    service = project.start("schedule", env=env)
    try:
        finished = wait_for(lambda: runs(prefect_api, name, "Completed"))
        assert len(finished) == 1, "one stands for all"
        assert not runs(prefect_api, name, "Running", "Late", "Scheduled", "Pending")
        assert finished[0]["expected_start_time"] >= broken["expected_start_time"]
    finally:
        service.send_signal(signal.SIGTERM)
        service.communicate(timeout=300)


@pytest.mark.slow
def test_nothing_of_a_run_lives_on_when_the_service_is_killed(named: tuple[Project, str], prefect_api: str) -> None:
    project, _ = named
    project.edit(pretrain={"training": {"steps": 10**7, "batch_size": 64, "learning_rate": 0.02}})  # hours
    service = project.start("schedule", env={"PREFECT_API_URL": prefect_api, "GRAFT_WARM_SERVER": ""})
    output = Output(service)
    try:
        output.after(0, "pretrain: running", 300)
        for _ in range(100):  # a stage is said to run before its process is there
            left = psutil.Process(service.pid).children(recursive=True)
            if sum("torch" in process.cmdline() for process in left) >= 3:
                break
            time.sleep(0.1)
        assert any("prefect.engine" in process.cmdline() for process in left)
        (warm,) = [process for process in psutil.Process(service.pid).children() if "torch" in process.cmdline()]
        with_torch = {process for process in left if "torch" in process.cmdline()}
        assert with_torch == {warm, *warm.children(recursive=True)}, "the libraries were imported once, by the service"
        assert len(with_torch) >= 3, "the server of the service, that of the run, and its stage"
    finally:
        service.kill()
        service.wait()
    assert gone([process.pid for process in left])


def test_bad_schedules_are_refused_before_anything_starts(named: tuple[Project, str], prefect_api: str) -> None:
    project, name = named
    for wrong, said in (({"cron": "every night"}, "cron"), ({"cron": "0 2 * * *", "timezone": "Moon/Sea"}, "Moon/Sea")):
        schedule(project, name, wrong)
        result = project.graft("schedule", env={"PREFECT_API_URL": prefect_api})
        assert result.returncode == 2, result.stdout
        assert "prefect.yaml" in result.stderr
        assert said in result.stderr
        assert "Traceback" not in result.stderr


def test_a_server_that_does_not_answer_is_named_without_its_password(project: Project) -> None:
    schedule(project, "x")
    result = project.graft("schedule", env={"PREFECT_API_URL": "http://me:hidden@127.0.0.1:9/api"})
    assert result.returncode == 1, result.stdout
    assert "no Prefect server answers at http://me:…@127.0.0.1:9/api" in result.stderr
    assert "hidden" not in result.stdout + result.stderr


def test_the_deployment_of_another_project_is_left_alone(named: tuple[Project, str], prefect_api: str) -> None:
    project, name = named
    flow = send(f"{prefect_api}/flows/", {"name": "transfer"})
    body = {"name": name, "flow_id": flow["id"], "parameters": {"root": "/elsewhere"}}
    send(f"{prefect_api}/deployments/", body)
    result = project.graft("schedule", env={"PREFECT_API_URL": prefect_api})
    assert result.returncode == 2, result.stdout
    assert "already has one with that name, of the project in /elsewhere" in result.stderr
    found = post(f"{prefect_api}/deployments/filter", {"deployments": {"name": {"any_": [name]}}})
    assert found[0]["parameters"] == {"root": "/elsewhere"}


@pytest.mark.slow
def test_deployments_go_into_a_work_pool_where_a_worker_runs_them(named: tuple[Project, str], prefect_api: str) -> None:
    project, name = named
    content = yaml.safe_load((project.root / "prefect.yaml").read_text())
    content["deployments"][0] |= {"schedules": [], "work_pool": {"name": name}}
    (project.root / "prefect.yaml").write_text(yaml.safe_dump(content))
    env = {"PREFECT_API_URL": prefect_api}
    for _ in range(2):  # the pool is there the second time
        result = project.graft("schedule", "--deploy", env=env)
        assert result.returncode == 0, result.stdout + result.stderr
    assert f"prefect worker start --pool {name}" in result.stdout
    program = f"""
import subprocess, sys
for command in (["deployment", "run", "transfer/{name}"], ["worker", "start", "--pool", "{name}", "--run-once"]):
    subprocess.run([sys.executable, "-m", "prefect", *command], check=True, timeout=100)
"""
    ran = project.python(program, env=env)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert wait_for(lambda: runs(prefect_api, name, "Completed"))


def test_without_a_server_there_is_no_work_pool(project: Project) -> None:
    schedule(project, "x")
    result = project.graft("schedule", "--deploy")
    assert result.returncode == 2
    assert "PREFECT_API_URL" in result.stderr

"""What stops a run: bad settings before it starts, bad data, Ctrl-C and signals in its midst."""

import contextlib
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.flows.project import Project
from tests.tasks.support.processes import gone


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_the_server_of_its_own_ends_with_a_run(project: Project, end: signal.Signals) -> None:
    project.edit(evaluate={"seed": 2})
    run = project.start("run")
    (server,) = servers_of(run)
    run.send_signal(end)
    run.communicate(timeout=60)
    assert run.returncode == (-end if end == signal.SIGKILL else 130)
    assert gone([server])


def servers_of(run: "subprocess.Popen[str]") -> list[int]:
    """The Prefect server that a run starts, once it has."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        children = psutil.Process(run.pid).children()
        found = [each.pid for each in children if "prefect.server.api.server:create_app" in each.cmdline()]
        if found:
            return found
        time.sleep(0.05)
    return []


def test_bad_parameters_stop_a_run_before_it_starts(project: Project) -> None:
    lock = project.lock
    project.edit(strategies={"fine_tun": {}}, finetune={"labels": 3})
    result = project.graft("run")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "strategies.fine_tun: unknown strategy; did you mean 'fine_tune'?" in result.stderr
    assert "finetune.labels: unknown key" in result.stderr
    assert project.lock == lock


def test_a_bad_knob_stops_a_run_before_anything_is_trained(project: Project, prefect_api: str) -> None:
    project.edit(strategies={"scratch": {}, "fine_tune": {"backbone_rat": 1.0}}, pretrain={"seed": 5})
    before = project.times()
    result = project.graft("run", env={"PREFECT_API_URL": prefect_api})
    assert result.returncode == 2, result.stdout
    assert "did you mean 'backbone_rate'?" in result.stderr
    assert "Starting Prefect" not in result.stdout
    assert "Traceback" not in result.stderr
    assert project.times() == before


def test_a_strategy_that_cannot_work_with_the_classes_stops_a_run_before_anything_is_trained(
    project: Project, prefect_api: str
) -> None:
    for split in ("train", "test"):
        path = project.root / f"data/target/{split}.npz"
        with np.load(path) as file:
            arrays = dict(file)
        arrays["class_names"][0] = "zero"
        np.savez(path, **arrays)
    project.edit(pretrain={"seed": 5})
    before = project.times()
    result = project.graft("run", "--update-data", env={"PREFECT_API_URL": prefect_api})
    assert result.returncode == 2, result.stdout
    assert "label_free.source_only: source_only predicts with the source's head" in result.stderr
    assert "prepare.class_map" in result.stderr
    assert "Traceback" not in result.stderr
    after = project.times()
    assert {name for name in before if before[name] != after[name]} == {"data/card.json"}


def test_a_label_budget_that_is_too_large_stops_a_run_before_it_starts(project: Project, prefect_api: str) -> None:
    project.edit(label_budgets=[2000])
    result = project.graft("run", env={"PREFECT_API_URL": prefect_api})
    assert result.returncode == 2, result.stdout
    assert "2000 labels per class are asked for, and class" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_bad_mlflow_yaml_stops_a_run_before_it_starts(project: Project) -> None:
    path = project.root / "mlflow.yaml"
    path.write_text(path.read_text().replace("metric: lead", "metric: acuracy"))
    result = project.graft("run")
    assert result.returncode == 2
    assert "promotion.metric" in result.stderr
    assert "acuracy" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_prefect_server_that_does_not_answer_is_named(project: Project) -> None:
    project.edit(evaluate={"seed": 1})
    result = project.graft("run", env={"PREFECT_API_URL": "http://127.0.0.1:9/api"})
    assert result.returncode == 1, "it may be there later"
    assert "no Prefect server answers at http://127.0.0.1:9/api" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("server", "end"),
    [
        ("temporary", signal.SIGINT),
        pytest.param("configured", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("configured", signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_is_ended_while_it_trains_ends_at_once_and_the_next_one_goes_on(
    project: Project, prefect_api: str, server: str, end: signal.Signals
) -> None:
    project.edit(pretrain={"training": {"steps": 100_000, "batch_size": 64}})
    run = project.start("run", env={"PREFECT_API_URL": prefect_api} if server == "configured" else None)
    assert run.stdout is not None
    for line in run.stdout:
        if line.startswith(("✓ prepare", "– prepare")):
            break
    time.sleep(1)
    servers = servers_of(run) if server == "temporary" else []
    run.send_signal(end)
    rest, _ = run.communicate(timeout=30)
    assert run.returncode == 130, rest
    assert "finished stages are kept" in rest
    assert "Traceback" not in rest
    assert not _processes_in(project)
    assert gone(servers)
    project.edit(pretrain={"training": {"steps": 60, "batch_size": 64, "learning_rate": 0.02}})
    result = project.graft("run")
    assert "Nothing to do" in result.stdout or "↺ pretrain" in result.stdout, result.stdout + result.stderr


def test_data_that_arrives_while_a_run_works_is_for_the_next_one(project: Project, prefect_api: str) -> None:
    project.edit(pretrain={"training": {"steps": 61, "batch_size": 64, "learning_rate": 0.02}})
    pointer = (project.root / "data.dvc").read_text()
    run = project.start("run", "--update-data", env={"PREFECT_API_URL": prefect_api})
    assert run.stdout is not None
    for line in run.stdout:
        if line.startswith(("✓ prepare", "– prepare")):
            break
    (project.root / "data/later.txt").write_text("later")
    rest, _ = run.communicate(timeout=300)
    assert run.returncode == 0, rest
    assert (project.root / "data.dvc").read_text() == pointer
    refused = project.graft("run")
    assert "data/ differs from what data.dvc records: 1 added (data/later.txt)" in refused.stderr


CHANGING = """
import os, tasks.checks.survey
from pathlib import Path

run_module = tasks.checks.survey.run_module

def and_spoil(module, root):
    run_module(module, root)
    path = Path("data/target/train.npz")
    path.write_bytes(path.read_bytes()[:1000])

tasks.checks.survey.run_module = and_spoil  # it is called between the check of the data and the first stage
from flows.transfer import transfer
transfer(os.getcwd(), update_data=True)
"""


def test_bad_data_that_arrives_after_the_check_is_refused_too(project: Project, prefect_api: str) -> None:
    project.edit(pretrain={"training": {"steps": 61, "batch_size": 64, "learning_rate": 0.02}})
    pointer, lock = (project.root / "data.dvc").read_text(), project.lock
    ran = project.python(CHANGING, env={"PREFECT_API_URL": prefect_api})
    assert "the new data is refused" in ran.stderr
    assert ((project.root / "data.dvc").read_text(), project.lock) == (pointer, lock)


def _processes_in(project: Project) -> list[str]:
    """Processes whose working directory is the project's, where the system tells."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").resolve() == project.root:
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


def test_data_faults_are_all_reported_at_once(project: Project) -> None:
    assert "No problems" in project.graft("data", "check").stdout
    target = project.root / "data/target/train.npz"
    target.unlink()
    target.write_bytes(b"not an archive")
    result = project.graft("data", "check")
    assert result.returncode == 2
    assert "data/target/train.npz" in result.stderr
    assert "Traceback" not in result.stderr

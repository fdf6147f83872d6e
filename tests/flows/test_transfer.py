"""The main job, end to end, on the demo's real data with a real Prefect server, MLflow store and DVC."""

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

from tests.flows.project import Project, post
from tests.house.imports import ROOT

TRIALS = 10


def test_the_first_run_shows_the_result_and_where_to_look(finished: tuple[Project, str]) -> None:
    project, output = finished
    for strategy in ("scratch", "source_only", "fine_tune"):
        assert strategy in output
    assert "gain over scratch" in output
    assert "baseline" in output
    assert "version 1" in output
    assert "reports/index.html" in output
    assert (project.root / "reports/index.html").stat().st_size > 10_000
    assert project.mlflow() == (TRIALS + 2, 1)


def test_each_stage_that_ran_is_a_prefect_task_run_with_its_log(
    finished: tuple[Project, str], prefect_api: str
) -> None:
    runs = post(f"{prefect_api}/task_runs/filter", {"limit": 200})
    by_name = {str(run["name"]): run for run in runs}
    expected = {"finetune@fine_tune-2-0", "finetune@scratch-5-1", "adapt@source_only-0"}
    assert {"prepare", "pretrain", *expected, "evaluate"} <= by_name.keys()
    found = post(
        f"{prefect_api}/logs/filter",
        {"logs": {"task_run_id": {"any_": [by_name["finetune@fine_tune-5-0"]["id"]]}}, "limit": 200},
    )
    said = [str(log["message"]) for log in found]
    assert any("validation loss" in line for line in said)
    assert any("on cpu, 1 thread" in line for line in said), "where it runs"


def test_the_end_of_a_run_is_an_event_of_prefect(finished: tuple[Project, str], prefect_api: str) -> None:
    name = finished[0].root.name
    wanted = {"filter": {"resource": {"id": [f"graft.project.{name}"]}}, "limit": 10}

    def events() -> list[dict[str, object]]:
        request = urllib.request.Request(
            f"{prefect_api}/events/filter", json.dumps(wanted).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: list[dict[str, object]] = json.load(answer)["events"]
        return found

    for _ in range(60):
        if found := events():
            break
        time.sleep(0.5)
    assert found[-1]["event"] == "graft.run.ended"
    assert found[-1]["payload"]["outcome"] == "finished"  # type: ignore[index]


def test_what_is_done_stays_done_and_mlflow_is_filled_whenever_it_is_there(project: Project) -> None:
    nobody = {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    away = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    before = project.lock
    assert project.dvc("status").stdout.strip() == "Data and pipelines are up to date."
    result = project.dvc("repro")
    assert result.returncode == 0
    assert "Running stage" not in result.stdout
    assert project.lock == before

    result = project.graft("run", env=nobody | away)
    assert result.returncode == 0, "no run fails because MLflow is away"
    assert "graft sync" in result.stdout
    assert project.graft("sync", env=away).returncode == 1
    assert project.graft("sync").returncode == 0
    assert project.mlflow() == (TRIALS + 2, 1)
    result = project.graft("sync")
    assert f"all {TRIALS + 2} runs were recorded before" in result.stdout

    shutil.rmtree(project.root / ".graft/mlflow")
    assert project.graft("run", env=nobody).returncode == 0
    times, lock, mlflow = project.times(), project.lock, project.mlflow()
    assert mlflow == (TRIALS + 2, 1), "a lost MLflow was filled again from the stages' files"
    trials = project.root / "build/trials"
    shutil.copytree(trials / "scratch-5-0", trials / "scratch-5-9")  # nobody asked for it: it is put away
    result = project.graft("run", env=nobody)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Nothing to do" in result.stdout
    assert "gain over scratch" in result.stdout
    assert not (trials / "scratch-5-9").exists()
    assert (project.times(), project.lock, project.mlflow()) == (times, lock, mlflow)


def test_a_restored_backup_holds_all_that_the_machine_had(project: Project, prefect_api: str, tmp_path: Path) -> None:
    env = {"PREFECT_API_URL": prefect_api}
    assert project.graft("sync").returncode == 0
    mlflow, lock, metrics = project.mlflow(), project.lock, project.metrics
    (project.root / ".venv/bin").mkdir(parents=True)
    (project.root / ".venv/bin/python").symlink_to(sys.executable)
    backup = [*map(str, ("bash", ROOT / "deploy/backup.sh", project.root, tmp_path / "backup"))]
    subprocess.run(backup, check=True, capture_output=True)
    for lost in (".graft", ".dvc/cache", "data", "build", "reports"):
        shutil.rmtree(project.root / lost)
    subprocess.run(["cp", "-a", f"{tmp_path}/backup/.", f"{project.root}/"], check=True)
    result = project.graft("run", env=env)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count(": from cache") == TRIALS + 5
    assert "step " not in result.stdout, "nothing was trained"
    assert (project.mlflow(), project.lock, project.metrics) == (mlflow, lock, metrics)


def test_an_edit_reruns_what_depends_on_it_and_undoing_it_restores(project: Project, prefect_api: str) -> None:
    env, before, lock = {"PREFECT_API_URL": prefect_api}, project.times(), project.lock
    assert project.graft("sync").returncode == 0
    project.edit(strategies={"scratch": {}, "fine_tune": {"backbone_rate": 0.25}})
    status = project.graft("status").stdout
    assert status.count("▶ to run") == 5, status  # its trials, two budgets by two seeds, and the evaluation
    assert "Stages: 5 to run, 11 up to date." in status
    project.edit(label_free={})  # a strategy that is dropped leaves
    result = project.graft("run", env=env)
    assert result.returncode == 0, result.stdout + result.stderr
    after = project.times()
    changed = {name for name in after if before[name] != after[name]}
    assert changed == {*(f"trials/fine_tune-{labels}-{seed}" for labels in (2, 5) for seed in (0, 1)), "evaluation"}
    assert set(project.metrics["strategies"]) == {"scratch", "fine_tune"}
    assert not (project.root / "build/trials/source_only-0-0").exists()
    assert project.dvc("status").stdout.strip() == "Data and pipelines are up to date."
    assert project.mlflow()[0] == TRIALS + 2 + 5, "four trials and the parent of the result; the others are found"

    project.edit(strategies={"scratch": {}, "fine_tune": {}}, label_free={"source_only": {}})
    result = project.graft("run", env=env)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "✓ finetune" not in result.stdout, "nothing is trained again"
    assert result.stdout.count("↺") >= 5, result.stdout
    assert project.metrics["strategies"].keys() == {"scratch", "source_only", "fine_tune"}
    assert set(lock.splitlines()) == set(project.lock.splitlines())
    assert yaml.safe_load(project.lock) == yaml.safe_load(lock)
    assert project.mlflow()[0] == TRIALS + 2 + 5, "all are found"


def test_a_search_is_part_of_the_graph_and_costs_every_strategy_the_same(project: Project, prefect_api: str) -> None:
    before = project.times()
    project.edit(seeds=[0], label_budgets=[2], tune={"trials": 2})
    result = project.graft("run", env={"PREFECT_API_URL": prefect_api})
    assert result.returncode == 0, result.stdout + result.stderr
    after = project.times()
    assert all(after[name] == before[name] for name in ("data/card.json", "pretrained")), "no trial, not run again"
    for name in ("scratch", "fine_tune"):
        trial = json.loads((project.root / f"build/trials/{name}-2-0/metrics.json").read_text())
        assert len(trial["search"]) == 2
        assert trial["learning_rate"] in {attempt["learning_rate"] for attempt in trial["search"]}
    assert "What the search settled on" in (project.root / "reports/index.html").read_text()


@pytest.mark.slow
def test_dvc_alone_writes_the_same_lock_and_graft_then_skips_every_stage(
    finished: tuple[Project, str], tmp_path
) -> None:
    other = Project.create(tmp_path / "elsewhere" / "clone")
    assert other.graft("data", "demo").returncode == 0
    result = other.dvc("repro", env={"OMP_NUM_THREADS": "2"})  # set on many machines; sums would round differently
    assert result.returncode == 0, result.stdout + result.stderr
    assert other.lock == finished[0].lock
    for name in ("reports/metrics.json", "reports/index.html", "build/pretrained/model.safetensors"):
        assert (other.root / name).read_bytes() == (finished[0].root / name).read_bytes(), name
    result = other.graft("run")
    assert "Nothing to do" in result.stdout
    assert other.mlflow() == (TRIALS + 2, 1), "runs are written from the stages' files"


@pytest.mark.slow
def test_a_run_without_a_configured_server_starts_and_ends_one_of_its_own(project: Project) -> None:
    project.edit(evaluate={"seed": 1})
    result = project.graft("run")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "✓ evaluate" in result.stdout
    assert "rror" not in result.stdout + result.stderr, "Prefect's logs and events came through before its server ended"


def test_importing_the_flow_keeps_prefect_out_of_the_home_folder(project: Project, tmp_path: Path) -> None:
    program = (
        "import flows.transfer; from prefect.settings import get_current_settings as s; "
        "print(s().home, s().server.ephemeral.startup_timeout_seconds, s().logging.extra_loggers)"
    )
    home = tmp_path / "home"
    home.mkdir()
    said = project.python(program, env={"HOME": str(home)})
    assert said.stdout.split()[0] == str(project.root / ".graft/prefect"), said.stderr
    assert "120" in said.stdout
    assert "graft" in said.stdout
    assert not list(home.iterdir())


def test_the_report_is_printed_and_its_absence_said(project: Project) -> None:
    shown = project.graft("report", "--no-open")
    assert "gain over scratch" in shown.stdout
    assert "index.html" in shown.stdout
    (project.root / "reports/metrics.json").unlink()
    missing = project.graft("report", "--no-open")
    assert missing.returncode == 2
    assert "graft run" in missing.stderr
    assert "Traceback" not in missing.stderr


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["status", "--help"], ["report", "--help"], ["ui", "--help"],
                  ["strategies", "--help"], ["forecast", "--help"], ["cost", "--help"],
                  ["data", "demo", "--help"], ["data", "check", "--help"]],
)  # fmt: skip
def test_every_command_explains_itself(arguments: list[str]) -> None:
    from typer.testing import CliRunner

    from flows.cli import app

    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert "Usage" in result.output
    assert arguments == ["--help"] or "Example" in result.output


def test_strategies_are_listed_and_explained(project: Project) -> None:
    assert "Train the same architecture" in project.graft("strategies").stdout
    explained = project.graft("strategies", "fine_tune").stdout
    assert "Yosinski" in explained
    assert "backbone_rate" in explained
    unknown = project.graft("strategies", "finetune")
    assert unknown.returncode == 2
    assert "did you mean 'fine_tune'?" in unknown.stderr

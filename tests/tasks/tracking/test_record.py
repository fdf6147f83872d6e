"""A result in MLflow: everything is there, exactly once, whatever happened before."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.entities import Run

from tasks.common.places import FORECAST
from tasks.executor import run_journal
from tasks.settings.mlflow import read_mlflow_settings
from tasks.tracking import waiting_results
from tasks.tracking.published import Published, Registration, load_published, save_published
from tasks.tracking.record import record, record_result
from tasks.tracking.run_content import COMPLETE, KEY, RUNS
from tasks.tracking.run_result import read_run_result
from tasks.tracking.run_store import PARENT, RunStore, is_complete
from tasks.tracking.saved_view import FILTER
from tests.tasks.support.forecast_fixture import by_hand, with_models
from tests.tasks.support.mlflow_fixture import (
    SEEDS,
    STRATEGIES,
    assert_mirrored,
    change_report,
    client_of,
    new_project,
    publish_at_once,
    publish_in_new_process,
    runs_of,
    template,
    write_json,
    write_lock,
)

TRIALS = [f"{strategy}-10-{seed}" for strategy in STRATEGIES for seed in SEEDS]
EVERYTHING = len(TRIALS) + 2


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return new_project(tmp_path / "project")


def by_name(root: Path, kind: str) -> dict[str, Run]:
    """The runs of a kind; fails if a name is there twice."""
    found = [run for run in runs_of(root) if run.data.tags.get("kind") == kind]
    names = {run.info.run_name: run for run in found}
    assert len(names) == len(found), "a run is there twice"
    return names


def flow_of(root: Path) -> Run:
    (run,) = by_name(root, "flow").values()
    return run


def artifact(root: Path, run: Run, path: str) -> str:
    return (Path(run.info.artifact_uri.removeprefix("file://")) / path).read_text()


def test_a_trial_shows_what_it_was_given_how_it_learned_and_how_good_it_is(project: Path) -> None:
    assert record(project).written == EVERYTHING
    trials = by_name(project, "trial")
    assert sorted(trials) == sorted(TRIALS)
    run = trials["fine_tune-10-1"]
    params = run.data.params
    assert (params["strategy"], params["seed"], params["labels_per_class"]) == ("fine_tune", "1", "10")
    assert (params["learning_rate"], params["steps"], params["batch_size"]) == ("0.02", "60", "16"), "the rate found"
    assert (params["n_train"], params["n_validation"], params["trainable_parameters"]) == ("30", "15", "4900")
    assert (params["backbone"], params["knob.backbone_rate"]) == ("convnet_tiny", "0.1")
    curve = client_of(project).get_metric_history(run.info.run_id, "val_accuracy")
    assert [(point.step, point.value) for point in curve] == [(10, 0.10), (20, 0.20), (30, 0.30)]
    searched = client_of(project).get_metric_history(run.info.run_id, "search/objective")
    assert [(point.step, point.value) for point in searched] == [(0, 0.4), (1, 0.3)]
    report = json.loads((project / "reports/metrics.json").read_text())
    assert run.data.metrics["test/accuracy"] == report["strategies"]["fine_tune"]["accuracy"]["seeds"][1]
    assert run.data.metrics["validation/nll"] == 0.3
    assert (run.data.tags["kind"], run.data.tags["strategy"], run.data.tags["seed"]) == ("trial", "fine_tune", "1")
    (dataset,) = run.inputs.dataset_inputs
    md5 = json.loads((project / "build/data/card.json").read_text())["data_md5"]
    assert dataset.dataset.digest == run.data.tags["dvc.data_md5"] == md5
    assert json.loads(dataset.dataset.profile)["pool"]["n"] == 45


def test_a_run_shows_on_what_it_was_run_and_whether_that_took_more_than_it_should(project: Path) -> None:
    (project / ".dvc").mkdir()
    keys = [trial.key for trial in read_run_result(project).trials]
    run_journal.note(project, keys[0], run_journal.Ran("cuda:1", 2))
    run_journal.note(project, keys[1], run_journal.Ran("cuda:0", 1, attempts=3, batch_parts=4))
    record(project)
    tags = {run.data.tags[KEY]: run.data.tags for run in runs_of(project)}
    how = ("graft.device", "graft.threads", "graft.attempts", "graft.batch_parts")
    assert [[tags[key].get(name) for name in how] for key in keys[:3]] == [
        ["cuda:1", "2", None, None],
        ["cuda:0", "1", "3", "4"],
        [None, None, None, None],
    ]


def test_the_flow_s_run_shows_the_result_and_leads_to_its_trials(project: Path) -> None:
    recorded = record(project)
    flow = flow_of(project)
    assert recorded.run_id == flow.info.run_id
    assert flow.data.params["candidate"] == "fine_tune-10-1"
    assert flow.data.tags["verdict"] == "positive"
    assert artifact(project, flow, "report/index.html") == (project / "reports/index.html").read_text()
    leaderboard = json.loads(artifact(project, flow, "leaderboard.json"))
    assert [row[leaderboard["columns"].index("strategy")] for row in leaderboard["data"]] == ["fine_tune ★", "scratch"]
    table = json.loads(artifact(project, flow, "trials.json"))
    run_ids = {name: run.info.run_id for name, run in by_name(project, "trial").items()}
    assert {row[0]: row[table["columns"].index("run_id")] for row in table["data"]} == run_ids
    note = flow.data.tags["mlflow.note.content"]
    assert "**Candidate: `fine_tune-10-1`**" in note
    assert all(f"/runs/{run_id}" in note for run_id in run_ids.values())
    assert [table["path"] for table in json.loads(flow.data.tags["mlflow.loggedArtifacts"])] == [
        "leaderboard.json",
        "trials.json",
    ]
    assert_mirrored(project)


def test_each_further_source_has_a_run_of_its_own(project: Path) -> None:
    shutil.copytree(project / "build/pretrained", project / "build/sources/other")
    forecast = with_models(by_hand({(10, 0): 0.1}), "other", "pretrained", "a folder of the user's")
    write_json(project / FORECAST, forecast.to_json())
    lock = yaml.safe_load((project / "dvc.lock").read_text())
    lock["stages"]["source@other"] = {"cmd": "python -m tasks.source --name other"}
    (project / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert not record(project).problem
    assert by_name(project, "pretrain").keys() == {"pretrain", "source other"}
    assert_mirrored(project)


def test_a_second_time_nothing_is_written(project: Path) -> None:
    record(project)
    before = [run.to_dictionary() for run in runs_of(project)]
    again = record(project)
    assert (again.written, again.found, again.problem) == (0, EVERYTHING, "")
    assert [run.to_dictionary() for run in runs_of(project)] == before


def test_a_changed_trial_makes_a_new_result_that_links_the_old_runs(project: Path) -> None:
    record(project)
    first = flow_of(project)
    old = by_name(project, "trial")
    lock = (project / "dvc.lock").read_text()
    write_lock(project, **{"finetune@fine_tune-10-1": "new", "evaluate": "new"})
    recorded = record(project)
    assert (recorded.written, recorded.found) == (2, EVERYTHING - 2)
    runs = {run.info.run_id: run for run in runs_of(project)}
    assert len(runs) == EVERYTHING + 2
    second = runs[recorded.run_id]
    linked = second.data.tags[RUNS].split()
    assert {old[name].info.run_id for name in TRIALS if name != "fine_tune-10-1"} <= set(linked)
    assert old["fine_tune-10-1"].info.run_id not in linked
    for run_id in linked:
        is_new = run_id not in first.data.tags[RUNS].split()
        assert runs[run_id].data.tags[PARENT] == (second if is_new else first).info.run_id
    (project / "dvc.lock").write_text(lock)
    assert (record(project).written, record(project).run_id) == (0, first.info.run_id)


def test_the_saved_view_finds_the_trials_of_the_latest_result_alone(project: Path) -> None:
    first = record(project).run_id
    old = {name: run.info.run_id for name, run in by_name(project, "trial").items()}
    experiment_id = client_of(project).get_run(first).info.experiment_id

    def ids() -> set[str]:
        return {run.info.run_id for run in client_of(project).search_runs([experiment_id], FILTER)}

    assert ids() == set(old.values())
    lock = (project / "dvc.lock").read_text()
    write_lock(project, **{"finetune@fine_tune-10-1": "new", "evaluate": "new"})
    record(project)
    assert len(ids()) == len(TRIALS)
    assert set(old.values()) - ids() == {old["fine_tune-10-1"]}
    (project / "dvc.lock").write_text(lock)
    assert record(project).written == 0, "no run is written for a result that is there, its marks are put right"
    assert ids() == set(old.values())


def test_a_new_evaluation_of_the_same_trial_shows_its_new_test_metrics(project: Path) -> None:
    record(project)
    run_id = by_name(project, "trial")["fine_tune-10-1"].info.run_id
    change_report(project, strategies__fine_tune__accuracy__seeds=[1.0, 0.5])
    write_lock(project, evaluate="another test")
    assert record(project).written == 1
    assert by_name(project, "trial")["fine_tune-10-1"].info.run_id == run_id
    assert by_name(project, "trial")["fine_tune-10-1"].data.metrics["test/accuracy"] == 0.5
    assert record(project).written == 0


def test_numbers_that_are_none_never_reach_mlflow(project: Path) -> None:
    curve = project / "build/trials/fine_tune-10-1/curve.csv"
    curve.write_text("step,learning_rate,train_loss,val_loss,val_accuracy\n1,0.1,nan,inf,0.5\n2,0.1,0.4,-inf,0.6\n")
    metrics = json.loads((project / "build/trials/fine_tune-10-1/metrics.json").read_text())
    metrics["validation"]["nll"] = None
    write_json(project / "build/trials/fine_tune-10-1/metrics.json", metrics)
    assert not record(project).problem
    found = by_name(project, "trial")["fine_tune-10-1"].data.metrics
    assert found["train_loss"] == 0.4
    assert found["val_accuracy"] == 0.6
    assert not {"val_loss", "validation/nll"} & set(found)


def test_more_points_than_one_request_takes_arrive_all(project: Path) -> None:
    rows = "".join(f"{step},0.1,{step},0.2,0.5\n" for step in range(1, 401))
    header = "step,learning_rate,train_loss,val_loss,val_accuracy\n"
    (project / "build/trials/fine_tune-10-1/curve.csv").write_text(header + rows)
    record(project)
    run = by_name(project, "trial")["fine_tune-10-1"]
    history = client_of(project).get_metric_history(run.info.run_id, "train_loss")
    assert [point.step for point in history] == list(range(1, 401))


class Crash(BaseException):
    """As a kill: nothing in between can catch it."""


@pytest.mark.parametrize("calls", [1, 3, 4, 9, 14, 23, 27, 30])
def test_a_crash_at_any_moment_leaves_nothing_behind(
    project: Path, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, client, result = read_mlflow_settings(project), client_of(project), read_run_result(project)
    left = [calls]

    def crashing(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Crash
            return method(*args, **kwargs)

        return call

    writes = ("create_run", "log_batch", "log_inputs", "log_artifact", "log_dict", "set_terminated", "set_tag")
    with monkeypatch.context() as patch, pytest.raises(Crash):
        for name in writes:
            patch.setattr(client, name, crashing(getattr(client, name)))
        record_result(client, settings, result)
    assert not record(project).problem
    assert_mirrored(project)


def test_what_was_deleted_or_doubled_by_others_is_mended(project: Path) -> None:
    record(project)
    client = client_of(project)
    trials = by_name(project, "trial")
    client.delete_run(trials["scratch-10-0"].info.run_id)
    assert record(project).written == 1
    assert_mirrored(project)
    client.delete_run(flow_of(project).info.run_id)
    assert record(project).written == 1
    assert_mirrored(project)
    tags = {name: value for name, value in trials["scratch-10-1"].data.tags.items() if not name.startswith("mlflow.")}
    double = client.create_run(trials["scratch-10-1"].info.experiment_id, tags={**tags, COMPLETE: "true"})
    client.set_terminated(double.info.run_id)
    client.delete_run(flow_of(project).info.run_id)
    record(project)
    assert_mirrored(project)


def test_a_lost_database_is_filled_again_and_home_stays_empty(project: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    record(project)
    shutil.rmtree(project / ".graft")
    text = publish_in_new_process(project, HOME=str(home))
    assert f"{EVERYTHING} runs recorded" in text
    assert "version 1 (registered now): champion" in text
    assert list(home.iterdir()) == []
    assert sorted(path.name for path in project.iterdir()) == sorted(path.name for path in template().iterdir())
    published = load_published(project)
    assert published is not None
    assert published.registration.uri == "models:/graft@champion"


def test_several_at_once_on_a_new_database_write_everything_once(project: Path) -> None:
    shutil.rmtree(project / ".graft")
    texts = publish_at_once(project, count=3)
    assert sum(f"{EVERYTHING} runs recorded" in text for text in texts) == 1
    assert sum("registered now" in text for text in texts) == 1
    assert_mirrored(project)


def test_a_server_that_is_away_is_no_error_and_costs_seconds(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{port}")
    tried: list[object] = []

    def refuse(address: object, *_: object, **__: object) -> None:
        tried.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr("urllib3.util.connection.create_connection", refuse)
    recorded = record(project)
    assert len(tried) == 1, "MLflow's own defaults try again for minutes"
    assert f"127.0.0.1:{port}" in recorded.problem
    assert "secret" not in recorded.problem
    assert (recorded.run_id, recorded.written) == ("", 0)


def test_results_that_follow_each_other_while_mlflow_is_away_are_all_recorded_later_and_once(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = []
    with monkeypatch.context() as away:
        away.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        for learning_rate in ("0.1", "0.2"):
            write_lock(project, **{"finetune@scratch-10-0": learning_rate, "evaluate": learning_rate})
            keys.append(read_run_result(project).key)
            for _ in range(2):
                recorded = record(project)
        assert (recorded.waiting, recorded.written) == (2, 0)
        assert "2 results are waiting to be recorded" in str(recorded)
        write_lock(project, evaluate="0.3")
        assert not (project / waiting_results.FOLDER / read_run_result(project).key).exists()
    recorded = record(project)
    assert (recorded.late, recorded.problem) == (2, "")
    assert "2 earlier results recorded now" in str(recorded)
    runs = runs_of(project)
    counted = Counter(run.data.tags[KEY] for run in runs)
    assert {*keys, read_run_result(project).key} <= counted.keys()
    assert set(counted.values()) == {1}
    assert all(is_complete(run) for run in runs)
    assert list(waiting_results.kept(project)) == []
    steps = [len(trial.curve) for trial in read_run_result(project).trials]
    client = client_of(project)
    trials = [run for run in runs if run.data.tags["kind"] == "trial"]
    for run in trials:
        history = [point.step for point in client.get_metric_history(run.info.run_id, "val_loss")]
        assert len(set(history)) == len(history)
        assert len(history) in steps
    assert record(project).late == 0


def callers(server: socket.socket) -> Iterator[socket.socket]:
    """The connections that were made to a server which took none."""
    with contextlib.suppress(BlockingIOError):
        while True:
            yield server.accept()[0]


def test_a_server_that_never_answers_is_given_up(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert record(project).problem
        silent.setblocking(False)
        assert len(list(callers(silent))) == 1


def test_results_that_are_not_complete_are_named(project: Path) -> None:
    (project / "build/trials/scratch-10-0/metrics.json").unlink()
    assert "scratch-10-0/metrics.json" in record(project).problem
    shutil.copytree(template() / "build", project / "build", dirs_exist_ok=True)
    (project / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    assert "dvc.lock" in record(project).problem


def test_a_project_that_was_moved_says_so(project: Path, tmp_path: Path) -> None:
    record(project)
    moved = Path(shutil.copytree(project, tmp_path / "moved"))
    problem = record(moved).problem
    assert str(tmp_path / "moved/.graft/mlflow/artifacts") in problem
    assert "moved" in problem
    assert len(runs_of(project)) == EVERYTHING


def test_the_commit_is_a_tag_and_outputs_of_the_run_do_not_make_it_dirty(project: Path) -> None:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"}

    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=x", "-c", "user.email=x@x", *arguments]
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    (project / ".gitignore").write_text(".graft\nbuild\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "x")
    write_lock(project, evaluate="x")
    record(project)
    assert flow_of(project).data.tags["git.commit"] == git("rev-parse", "HEAD")
    assert flow_of(project).data.tags["git.dirty"] == "false"
    (project / "mlflow.yaml").write_text("# edited\n{}")
    write_lock(project, evaluate="y")
    recorded = record(project)
    assert client_of(project).get_run(recorded.run_id).data.tags["git.dirty"] == "true"


def test_a_key_finds_the_finished_run_before_an_unfinished_one(project: Path) -> None:
    record(project)
    flow = flow_of(project)
    client = client_of(project)
    client.create_run(flow.info.experiment_id, start_time=1, tags={KEY: flow.data.tags[KEY]})
    found = RunStore(client, flow.info.experiment_id).finished(flow.data.tags[KEY])
    assert found is not None
    assert found.info.run_id == flow.info.run_id


def test_what_was_published_is_read_back_and_damage_is_nothing(project: Path) -> None:
    published = Published(record(project), Registration("graft", "3", True, "challenger", "2", "not better"))
    save_published(project, published)
    assert load_published(project) == published
    (project / ".graft/mlflow/published.json").write_text("{")
    assert load_published(project) is None

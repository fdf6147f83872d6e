"""The registry: one version a candidate, a champion only through the gate, a model that answers as it was evaluated."""

import asyncio
import base64
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.entities.model_registry import ModelVersion
from mlflow.pyfunc.scoring_server import init
from PIL import Image

from graft.measures.findings import Interval
from tasks.artifacts.networks import load_network
from tasks.common.errors import GraftError
from tasks.datasets.pictures import fit
from tasks.prepare import prepare
from tasks.registry.champion import scores_tag
from tasks.registry.gate import Candidate, Decision, Standing, decide
from tasks.registry.raw_test_pictures import write_test_pictures
from tasks.registry.register import HISTORY, REASON, register
from tasks.settings.mlflow import Promotion, read_mlflow_settings
from tasks.settings.prepare import PrepareSettings
from tasks.source_models.from_registry import from_registry
from tasks.tracking.client import default_server
from tasks.tracking.published import Registration
from tasks.tracking.record import record
from tasks.tracking.run_result import read_run_result
from tests.house.imports import ROOT
from tests.tasks.support.mlflow_fixture import (
    CLASSES,
    change_report,
    client_of,
    evaluate,
    network,
    new_project,
    trial_metrics,
    write_lock,
    write_network,
    write_split,
)

GAIN, NOTHING = Interval(0.1, 0.02, 0.2), Interval(0.0, 0.0, 0.0)
GOOD = Candidate("2", "fine_tune", "positive", GAIN, score=0.9)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return new_project(tmp_path / "project")


def publish(root: Path) -> Registration:
    assert not record(root).problem
    found = register(root)
    assert not found.problem
    return found


def version_of(root: Path, number: str) -> ModelVersion:
    return client_of(root).get_model_version("graft", number)


def aliases(root: Path) -> dict[str, str]:
    found = client_of(root).get_registered_model("graft").aliases
    return {alias: str(version) for alias, version in found.items()}


def history(root: Path, number: str) -> list[str]:
    tags = version_of(root, number).tags
    return [tags[name] for name in sorted(tags) if name.startswith(HISTORY)]


def experiment_of(root: Path) -> str:
    return record(root).experiment_id


def run_of_candidate(root: Path) -> str:
    key = read_run_result(root).candidate.key
    (run,) = client_of(root).search_runs([experiment_of(root)], f"tags.`graft.stage_key` = '{key}'")
    return str(run.info.run_id)


def retrain(root: Path, accuracy: float, value: str = "new") -> None:
    """Another candidate of that accuracy, as an edited parameter would make it."""
    write_lock(root, finetune=value, evaluate=value)
    change_report(root, strategies__fine_tune__accuracy__seeds=[accuracy, accuracy])


def png(image: np.ndarray) -> bytes:
    """An image (H, W) as the PNG file that a user would have."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def raw_test_pictures(root: Path) -> pd.DataFrame:
    return pd.DataFrame({"picture": [png(image) for image in np.load(root / "data/target/test.npz")["images"]]})


def evaluated(root: Path, trial: str) -> np.ndarray:
    """What the evaluation says of the test images: probabilities (N, K)."""
    found = np.load(root / "build/evaluation/predictions.npz")
    return np.asarray(found["probabilities"][list(found["trials"]).index(trial)])


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose candidate is champion; tests that use it change nothing."""
    root = new_project(tmp_path_factory.mktemp("registered") / "project")
    publish(root)
    return root


@pytest.fixture(scope="module")
def champion(registered: Path) -> Any:
    with default_server(read_mlflow_settings(registered).tracking.uri):
        return mlflow.pyfunc.load_model("models:/graft@champion")


def test_the_champion_answers_for_raw_pictures_as_it_was_evaluated(registered: Path, champion: Any) -> None:
    answers = champion.predict(raw_test_pictures(registered))
    expected = evaluated(registered, "fine_tune-10-1")
    assert list(answers["label"]) == [CLASSES[best] for best in expected.argmax(axis=1)]
    np.testing.assert_allclose(answers["confidence"], expected.max(axis=1), atol=1e-6)
    np.testing.assert_allclose(pd.DataFrame(answers["probabilities"].tolist())[CLASSES], expected, atol=1e-6)


def test_a_registered_model_is_weights_to_begin_with(registered: Path) -> None:
    given = from_registry("models:/graft@champion", registered)
    assert given.version == "version 1"
    expected = load_network(registered / "build/trials/fine_tune-10-1")
    assert given.network.description == expected.description
    for a, b in zip(given.network.state_dict().values(), expected.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert from_registry("models:/graft/1", registered).version == "version 1"


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("models:/graft", "valid: models:/NAME@ALIAS, models:/NAME/VERSION"),
        ("models:/graft@chmpion", "model 'graft' has no alias 'chmpion'; it has: champion"),
        ("models:/grift@champion", "the registry has no model 'grift'; it has: graft"),
    ],
)
def test_a_model_that_is_not_registered_is_refused_with_what_is(registered: Path, weights: str, message: str) -> None:
    with pytest.raises(GraftError, match=message):
        from_registry(weights, registered)


def test_the_champion_takes_pictures_of_any_size_and_names_rows_without_one(champion: Any) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (61, 40), "white").save(buffer, "JPEG")
    assert list(champion.predict(pd.DataFrame({"picture": [buffer.getvalue()]}))["label"]) == ["light"]
    bad = pd.DataFrame({"picture": [buffer.getvalue(), b"no image", b""]})
    with pytest.raises(Exception, match=r"row 1: .*\n.*row 2: "):
        champion.predict(bad)


def test_the_champion_answers_over_rest(registered: Path, champion: Any) -> None:
    picture = raw_test_pictures(registered)["picture"][0]
    rows = {"columns": ["picture"], "data": [[base64.b64encode(picture).decode()]]}

    async def post() -> httpx.Response:
        transport = httpx.ASGITransport(app=init(champion))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.post("/invocations", json={"dataframe_split": rows})

    response = asyncio.run(post())
    assert response.status_code == 200, response.text
    (answer,) = response.json()["predictions"]
    expected = evaluated(registered, "fine_tune-10-1")[0]
    assert answer["label"] == CLASSES[expected.argmax()]
    assert answer["probabilities"] == pytest.approx(dict(zip(CLASSES, map(float, expected), strict=True)), abs=1e-6)


def test_the_model_stands_alone_without_a_pickle(registered: Path, tmp_path: Path) -> None:
    version = version_of(registered, "1")
    (folder,) = [path.parent for path in (registered / ".graft/mlflow/artifacts").rglob("MLmodel")]
    assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".pickle", ".pt", ".pth")]
    requirements = (folder / "requirements.txt").read_text().split()
    assert all("==" in line and "+" not in line for line in requirements), requirements
    code = (
        "import json, sys, mlflow\n"
        "model = mlflow.pyfunc.load_model(sys.argv[1])\n"
        "print(json.dumps([sys.modules['graft'].__file__, sys.modules['tasks'].__file__]))\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"MLFLOW_TRACKING_URI": read_mlflow_settings(registered).tracking.uri}
    command = [sys.executable, "-P", "-c", code, f"models:/graft/{version.version}"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(str(folder) in path for path in json.loads(done.stdout.splitlines()[-1]))


def test_the_lines_of_the_readme_ask_the_champion(registered: Path, tmp_path: Path) -> None:
    (lines,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / ".graft").symlink_to(registered / ".graft")
    (tmp_path / "digit.png").write_bytes(raw_test_pictures(registered)["picture"][0])
    *before, last = lines.rstrip().splitlines()
    code = "\n".join([*before, f"print(({last.partition('  #')[0]}).label[0])"])
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == CLASSES[evaluated(registered, "fine_tune-10-1")[0].argmax()]


def test_a_second_time_nothing_is_registered_or_written(project: Path) -> None:
    first = publish(project)
    assert (first.version, first.created, first.alias, first.champion) == ("1", True, "champion", "1")
    assert "no champion before" in first.reason
    before = version_of(project, "1")
    second = publish(project)
    assert (second.version, second.created, second.alias) == ("1", False, "champion")
    assert "already the champion" in second.reason
    assert dict(version_of(project, "1")) == dict(before)
    assert len(client_of(project).search_model_versions()) == 1
    assert len(client_of(project).search_logged_models([experiment_of(project)])) == 1


def test_a_better_candidate_replaces_the_champion_which_is_kept(project: Path) -> None:
    change_report(project, strategies__fine_tune__accuracy__seeds=[0.8, 0.8])
    publish(project)
    retrain(project, 0.9)
    found = publish(project)
    assert (found.version, found.alias) == ("2", "champion")
    assert "0.9000 against 0.8000 of champion version 1" in found.reason
    assert aliases(project) == {"champion": "2", "previous": "1"}
    assert [entry.split(" ", 1)[1][:11] for entry in history(project, "1")] == ["promoted to", "replaced by"]
    assert "no champion before" in version_of(project, "1").tags[REASON]
    run_id = run_of_candidate(project)
    assert history(project, "2")[0].endswith(f"(run {run_id})")
    assert version_of(project, "2").run_id == run_id


def test_a_worse_candidate_becomes_challenger_with_the_reason(project: Path) -> None:
    publish(project)
    retrain(project, 0.7)
    found = publish(project)
    assert (found.version, found.alias, found.champion) == ("2", "challenger", "1")
    assert "not better: accuracy 0.7000 against 1.0000" in found.reason
    assert version_of(project, "2").tags[REASON] == found.reason
    assert aliases(project) == {"champion": "1", "challenger": "2"}
    assert publish(project).reason == found.reason
    assert len(history(project, "2")) == 1


def test_the_gate_goes_by_the_metric_that_leads_unless_another_is_asked_for(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_report(project, metric__name="macro_f1")
    publish(project)
    assert version_of(project, "1").tags["graft.metric"] == "macro_f1"
    retrain(project, 0.7)  # less accurate, and as good in macro-F1
    assert "not better: macro_f1 1.0000 against 1.0000" in publish(project).reason
    monkeypatch.setenv("GRAFT_PROMOTION_METRIC", "accuracy")
    assert "not better: accuracy 0.7000 against 1.0000" in publish(project).reason


def test_a_refused_candidate_passes_once_the_gate_is_opened(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_report(project, strategies__fine_tune__verdict="no evidence")
    refused = publish(project)
    assert (refused.alias, refused.champion) == ("challenger", "")
    assert "no evidence" in refused.reason
    monkeypatch.setenv("GRAFT_PROMOTION_REQUIRE", "not_negative")
    passed = publish(project)
    assert (passed.version, passed.created, passed.alias) == ("1", False, "champion")
    assert aliases(project) == {"champion": "1"}


def test_a_rollback_by_hand_is_not_undone(project: Path) -> None:
    change_report(project, strategies__fine_tune__accuracy__seeds=[0.8, 0.8])
    publish(project)
    retrain(project, 0.9)
    publish(project)
    client_of(project).set_registered_model_alias("graft", "champion", "1")
    found = publish(project)
    assert (found.alias, found.champion) == ("challenger", "1")
    assert "by hand" in found.reason
    assert aliases(project)["champion"] == "1"


def test_on_another_test_set_the_champion_is_measured_once(project: Path) -> None:
    publish(project)
    write_split(project, "test", seed=5)
    labels = np.load(project / "build/data/test/labels.npy")
    labels[:9] = (labels[:9] + 1) % 3  # nine of 45 are wrong for any sensible network
    np.save(project / "build/data/test/labels.npy", labels)
    write_network(project / "build/trials/fine_tune-10-1", network(seed=1, steps=0), trial_metrics("fine_tune", 1))
    evaluate(project)
    write_lock(project, finetune="new", evaluate="new")
    found = publish(project)
    assert (found.version, found.alias, found.champion) == ("2", "challenger", "1")
    assert "against 0.8000 of champion version 1 on the same test set" in found.reason
    tag = scores_tag(read_run_result(project).test_md5)
    assert json.loads(version_of(project, "1").tags[tag])["accuracy"] == 0.8
    client_of(project).set_model_version_tag("graft", "1", tag, json.dumps({"accuracy": 0.7}))
    assert "against 0.7000" in publish(project).reason, "a score that is known is not measured again"


def test_a_champion_that_cannot_answer_is_not_replaced_in_silence(project: Path) -> None:
    publish(project)
    for model in (project / ".graft/mlflow/artifacts").rglob("model.safetensors"):
        model.write_bytes(b"damaged")
    write_split(project, "test", seed=5)
    write_lock(project, finetune="new", evaluate="new")
    evaluate(project)
    found = publish(project)
    assert (found.alias, found.champion) == ("challenger", "1")
    assert "champion version 1 cannot be scored on this test set: it failed" in found.reason


def test_a_model_that_a_crash_left_unfinished_is_replaced(project: Path) -> None:
    record(project)
    client = client_of(project)
    result = read_run_result(project)
    tags = {"graft.stage_key": result.candidate.key}
    client.create_logged_model(experiment_of(project), "half", source_run_id=run_of_candidate(project), tags=tags)
    assert publish(project).version == "1"
    names = [model.name for model in client.search_logged_models([experiment_of(project)])]
    assert names == ["fine_tune-10-1"]


@pytest.mark.parametrize("held_out", [False, True])
def test_the_raw_test_pictures_are_those_that_were_packed(project: Path, tmp_path: Path, held_out: bool) -> None:
    if held_out:
        (project / "data/target/test.npz").unlink()
    (project / "data.dvc").write_text(f"outs:\n- md5: {'0' * 32}.dir\n  path: data\n")
    prepare(project, PrepareSettings(image_size=8))
    write_test_pictures(project, new_folder(tmp_path / "png"))
    found = [fit(Image.open(path), 8) for path in sorted((tmp_path / "png").iterdir())]
    np.testing.assert_array_equal(np.stack(found), np.load(project / "build/data/test/images.npy"))
    assert len(found) == (15 if held_out else 45)
    (project / "params.yaml").write_text("prepare: {image_size: 9}")
    with pytest.raises(GraftError, match="data/target has changed since build/data/test was packed from it"):
        write_test_pictures(project, new_folder(tmp_path / "again"))


def new_folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_without_a_run_nothing_is_registered_and_it_is_said(project: Path) -> None:
    found = register(project)
    assert "fine_tune-10-1 has no run in MLflow yet" in found.problem
    assert str(found).startswith("Not registered: ")


@pytest.mark.parametrize(
    ("candidate", "champion", "gate", "expected"),
    [
        (GOOD, None, Promotion(), (True, "there was no champion before")),
        (GOOD, Standing("1", 0.8), Promotion(), (True, "0.9000 against 0.8000")),
        (GOOD, Standing("1", 0.9), Promotion(), (False, "not better")),
        (GOOD, Standing("1", 0.89), Promotion(margin=0.02), (False, "a lead of more than 0.02 is required")),
        (GOOD, Standing("1", 0.87), Promotion(margin=0.02), (True, "against 0.8700")),
        (GOOD, Standing("1", None, "it broke"), Promotion(), (False, "it broke")),
        (Candidate("2", "fine_tune", "negative", GAIN, 0.9), None, Promotion(), (False, "negative")),
        (Candidate("2", "fine_tune", "no evidence", GAIN, 0.9), None, Promotion(), (False, "no evidence")),
        (Candidate("2", "fine_tune", "no evidence", GAIN, 0.9), None, Promotion("not_negative"), (True, "no evid")),
        (Candidate("2", "fine_tune", "negative", GAIN, 0.9), None, Promotion("not_negative"), (False, "negative")),
        (replace(GOOD, seeds=2), None, Promotion(), (False, "positive, but from 2 seeds; 3 are required")),
        (replace(GOOD, seeds=2), None, Promotion(seeds=2), (True, "there was no champion before")),
        (
            Candidate("2", "scratch", "baseline", NOTHING, 0.9),
            None,
            Promotion("not_negative"),
            (False, "baseline"),
        ),
        (Candidate("2", "source_only", "positive", GAIN, 0.9), None, Promotion(), (False, "nothing was transferred")),
        (
            Candidate("2", "x", "positive", GAIN, 0.9, was_champion=True),
            Standing("1", 0.1),
            Promotion(),
            (False, "by hand"),
        ),
        (
            Candidate("2", "x", "negative", GAIN, 0.9),
            Standing("2", 0.9),
            Promotion(),
            (True, "It would not be promoted now"),
        ),
    ],
)
def test_the_gate(candidate: Candidate, champion: Standing | None, gate: Promotion, expected: tuple[bool, str]) -> None:
    decision = decide(candidate, champion, gate)
    assert decision == Decision(expected[0], decision.reason)
    assert expected[1] in decision.reason


def test_a_single_seed_has_a_gain_without_an_interval() -> None:
    candidate = Candidate("1", "fine_tune", "positive", Interval(0.1, None, None), score=0.9)
    assert "gain over scratch +10.0 points;" in decide(candidate, None, Promotion()).reason

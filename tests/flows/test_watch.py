"""New data, end to end: seen, refused if it is bad, else versioned and trained on, its drift told."""

import io
import json
import signal
from collections.abc import Iterator

import numpy as np
import pytest
import yaml

from tests.flows.project import Output, Project, post
from tests.tasks.support.webhook import Listener, listening

PROMOTE = (
    "from mlflow import MlflowClient; "
    "MlflowClient('sqlite:///.graft/mlflow/mlflow.db').set_registered_model_alias('graft', 'champion', '1')"
)

DRIFT = (
    "import json; from mlflow import MlflowClient; "
    "client = MlflowClient('sqlite:///.graft/mlflow/mlflow.db'); "
    "ids = [found.experiment_id for found in client.search_experiments()]; "
    "print(json.dumps([run.data.metrics | {'said': run.data.tags['graft.drift']} for run in client.search_runs(ids) "
    "if 'graft.drift' in run.data.tags]))"
)


@pytest.fixture
def webhook() -> Iterator[Listener]:
    with listening() as server:
        yield server


@pytest.mark.slow
def test_new_data_is_trained_on_and_bad_data_is_refused(project: Project, prefect_api: str, webhook: Listener) -> None:
    env = {"PREFECT_API_URL": prefect_api, "GRAFT_WEBHOOK_URL": webhook.url}
    pointer = project.root / "data.dvc"
    before, lock = pointer.read_text(), project.lock
    process = project.start("watch", "--every", "0.5", "--settle", "1", env=env)
    output = Output(process)
    try:
        here = output.after(0, "watching")
        assert "Nothing to do" in output.text
        promoted = project.python(PROMOTE)  # so small a project shows too little for the gate
        assert promoted.returncode == 0, promoted.stderr

        target = project.root / "data/target/train.npz"
        good = target.read_bytes()
        target.write_bytes(good[: len(good) // 2])
        here = output.after(here, "watching")
        assert "the new data is refused" in output.text
        assert "data/target/train.npz" in output.text
        assert (pointer.read_text(), project.lock) == (before, lock), "the champion's data is still the recorded one"

        with np.load(io.BytesIO(good)) as archive:
            arrays = {name: archive[name] for name in archive}
        keep = np.arange(len(arrays["labels"])) % 10 > 0
        np.savez(target, **arrays | {name: arrays[name][keep] for name in ("images", "labels")})
        output.after(here, "watching")
        assert "New data: champion version 1 has accuracy" in output.text
        assert "The gap between old and new target is small" in output.text
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert process.returncode == 0
    assert yaml.safe_load(pointer.read_text()) != yaml.safe_load(before)
    assert project.dvc("status").stdout.strip() == "Data and pipelines are up to date."
    assert "✓ pretrain" not in output.text, "the source is what it was"
    (drift,) = json.loads(project.python(DRIFT).stdout)
    assert f"has accuracy {drift['drift/champion_accuracy']:.4f}" in drift["said"]
    assert drift.keys() >= {"drift/champion_accuracy_before", "drift/challenger_accuracy", "drift/gap_mmd"}
    assert [told["outcome"] for told in webhook.heard][:3] == ["unchanged", "refused", "finished"]
    assert "data/target/train.npz" in webhook.heard[1]["message"]
    assert {told["project"] for told in webhook.heard} == {project.root.name}
    asked = {"artifacts": {"key": {"any_": ["graft-copy"]}}, "sort": "CREATED_DESC", "limit": 1}
    (artifact,) = post(f"{prefect_api}/artifacts/filter", asked)
    assert "New data: champion version 1 has accuracy" in artifact["data"]
    assert "| scratch |" in artifact["data"]

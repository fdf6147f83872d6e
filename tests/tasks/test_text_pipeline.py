"""Texts from the raw files to the registered model: a network that learned one domain of texts learns another."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml

from tasks import evaluate, finetune, pretrain
from tasks.artifacts.networks import load_network
from tasks.artifacts.splits import load_texts
from tasks.common.errors import GraftError
from tasks.datasets.text.tokenizer import TOKENIZER, train_tokenizer, vocabulary_size
from tasks.forecast import write_forecast
from tasks.prepare import prepare
from tasks.registry.champion import standing
from tasks.registry.register import register
from tasks.results.cost_in_use import measure
from tasks.settings.evaluate import EvaluateSettings
from tasks.settings.mlflow import read_mlflow_settings
from tasks.settings.prepare import PrepareSettings
from tasks.settings.pretrain import PretrainSettings
from tasks.settings.yaml_sections import read_section
from tasks.source_models.from_file import from_file
from tasks.source_models.from_registry import from_registry
from tasks.tracking.client import default_server
from tasks.tracking.record import record
from tasks.tracking.run_result import read_run_result
from tasks.trials.plan import Entry
from tasks.weights import weights
from tests.tasks.support.mlflow_fixture import client_of
from tests.tasks.support.text_data import CLASSES, save_jsonl, sentences, text_project

TRAINING = {"steps": 40, "batch_size": 16, "learning_rate": 0.02, "evaluations": 2}
PARAMS = {
    "seeds": [0, 1],
    "label_budgets": [4],
    "strategies": {"scratch": {}, "fine_tune": {}, "adaptive_sampling": {}},
    "label_free": {"source_only": {}},
    "prepare": {"text_vocabulary": 300, "text_length": 16},
    "pretrain": {"backbone": "text_bag", "training": TRAINING},
    "finetune": {"training": TRAINING},
    "forecast": {"images": 40, "permutations": 99, "untrained": 1},
    "evaluate": {"resamples": 1000},
}


def lock(root: Path, entries: list[Entry]) -> None:
    """A dvc.lock as the stages would leave it."""
    out = {
        name: {
            "path": f"build/data/{name}",
            "md5": hashlib.md5((root / "build/data" / name / "tokens.npy").read_bytes()).hexdigest() + ".dir",
        }
        for name in ("pool", "test")
    }
    stages: dict[str, Any] = {name: {"cmd": f"python -m tasks.{name}"} for name in ("prepare", "pretrain")}
    stages["prepare"]["outs"] = list(out.values())
    stages |= {entry.stage: {"cmd": entry.command} for entry in entries}
    stages["evaluate"] = {"cmd": "python -m tasks.evaluate", "deps": [out["test"]]}
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project of texts with all its stages run; the current folder."""
    root, before = text_project(tmp_path_factory.mktemp("texts")), Path.cwd()
    (root / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    (root / "mlflow.yaml").write_text(yaml.safe_dump({"registry": {"promotion": {"seeds": 2}}}))
    (root / "dvc.yaml").write_text("stages: {}\n")
    os.chdir(root)
    try:
        prepare(root, read_section(root / "params.yaml", "prepare", PrepareSettings))
        weights(root)
        pretrain.pretrain(read_section(root / "params.yaml", "pretrain", PretrainSettings))
        write_forecast(root)
        with_labels = ("scratch", "fine_tune", "adaptive_sampling")
        entries = [Entry(name, 4, seed) for name in with_labels for seed in (0, 1)]
        entries += [Entry("source_only", 0, seed) for seed in (0, 1)]
        for entry in entries:
            finetune.finetune(entry)
        evaluate.evaluate(read_section(root / "params.yaml", "evaluate", EvaluateSettings))
        lock(root, entries)
        yield root
    finally:
        os.chdir(before)


def result(root: Path) -> dict[str, Any]:
    return json.loads((root / "reports/metrics.json").read_text())


def test_what_was_learned_from_one_domain_of_texts_helps_in_another(finished: Path) -> None:
    found = result(finished)
    assert found["test"]["kind"] == "texts"
    assert found["strategies"]["source_only"]["accuracy"]["mean"] > 0.9
    assert found["source"]["accuracy"] == pytest.approx(found["strategies"]["source_only"]["accuracy"]["mean"])
    forecast = json.loads((finished / "build/forecast/forecast.json").read_text())
    assert forecast["gap"] is not None
    assert forecast["models"]["pretrained"]["budgets"][0]["lift"]["probe"]["mean"] > 0


def test_the_tokenizer_travels_with_every_network(finished: Path) -> None:
    made = (finished / "build/data/pool" / TOKENIZER).read_bytes()
    for folder in (finished / "build/pretrained", finished / "build/trials/fine_tune-4-0"):
        assert load_network(folder).description.length == 16
        assert (folder / TOKENIZER).read_bytes() == made


def test_the_report_shows_texts_and_speaks_of_them(finished: Path) -> None:
    page = (finished / "reports/index.html").read_text()
    assert "40</b><span>test texts, 2 classes" in page
    assert "the first 16 tokens of a text" in page
    assert "Which source texts adaptive_sampling chose" in page
    assert f"<b>bad</b> <q>{sentences(120, seed=2)[0][1]}</q>" in page
    assert 'src="data:image' not in page


def test_networks_that_read_texts_are_measured_in_use(finished: Path) -> None:
    assert next(one.name for one in measure(finished)) == "pretrained"


def other_project(root: Path, given: Path) -> Path:
    """A project of other texts, whose source model is a given network as it is; the current folder."""
    text_project(root)
    shuffled = [(label, " ".join(reversed(text.split()))) for label, text in sentences(400, seed=9)]
    save_jsonl(root / "data/source/all.jsonl", shuffled)
    shutil.copytree(given, root / "weights/given")
    pretrain_settings = {"weights": "weights/given", "learn": "nothing"}
    (root / "params.yaml").write_text(yaml.safe_dump(PARAMS | {"pretrain": pretrain_settings}))
    prepare(root, read_section(root / "params.yaml", "prepare", PrepareSettings))
    return root


def test_given_weights_read_texts_by_their_own_tokenizer_in_every_stage(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = other_project(tmp_path, finished / "build/trials/fine_tune-4-0")
    monkeypatch.chdir(root)
    own, packed = (root / "weights/given" / TOKENIZER).read_bytes(), (root / "build/data/pool" / TOKENIZER).read_bytes()
    assert own != packed
    assert vocabulary_size(root / "weights/given" / TOKENIZER) == vocabulary_size(root / "build/data/pool" / TOKENIZER)
    weights(root)
    pretrain.pretrain(read_section(root / "params.yaml", "pretrain", PretrainSettings))
    write_forecast(root)
    entries = [Entry(name, 4, seed) for name in ("scratch", "fine_tune", "adaptive_sampling") for seed in (0, 1)]
    for entry in [*entries, *(Entry("source_only", 0, seed) for seed in (0, 1))]:
        finetune.finetune(entry)
        assert (root / "build/trials" / entry.name / TOKENIZER).read_bytes() == own
    evaluate.evaluate(read_section(root / "params.yaml", "evaluate", EvaluateSettings))
    found = result(root)
    # What the given network knows of these words it knows under its own tokens alone.
    assert found["source"]["accuracy"] > 0.95
    assert found["strategies"]["source_only"]["accuracy"]["mean"] > 0.95


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (Path.unlink, r"the network reads texts, but its tokenizer.json cannot be read"),
        (
            lambda path: train_tokenizer(["a"], 257, lowercase=True).save(str(path)),
            r"has 257 tokens, but .* trained with 300",
        ),
    ],
)
def test_weights_for_texts_without_their_tokenizer_are_refused(
    finished: Path, tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    shutil.copytree(finished / "build/pretrained", tmp_path / "weights/given")
    spoil(tmp_path / "weights/given" / TOKENIZER)
    with pytest.raises(GraftError, match=said):
        from_file("weights/given", tmp_path)


def test_the_registered_model_takes_texts_and_answers_as_it_was_evaluated(finished: Path) -> None:
    recorded = record(finished)
    assert not recorded.problem
    registration = register(finished)
    assert not registration.problem
    result, client = read_run_result(finished), client_of(finished)
    texts = load_texts(finished / "build/data/test") or []
    with default_server(read_mlflow_settings(finished).tracking.uri):
        model = mlflow.pyfunc.load_model(f"models:/graft/{registration.version}")
        answers = model.predict(pd.DataFrame({"text": texts}))
    stored = np.load(finished / "build/evaluation/predictions.npz")
    expected = stored["probabilities"][list(stored["trials"]).index(result.candidate.name)]
    np.testing.assert_allclose(pd.DataFrame(answers["probabilities"].tolist())[list(CLASSES)], expected, atol=1e-5)
    given = from_registry(f"models:/graft/{registration.version}", finished)
    assert given.tokenizer == (result.candidate.folder / TOKENIZER).read_bytes()
    version = client.get_model_version("graft", registration.version)
    client.delete_model_version_tag("graft", registration.version, f"graft.scores.{result.test_md5}")
    version = client.get_model_version("graft", registration.version)
    measured = standing(client, version, result, "accuracy")
    right = (expected.argmax(axis=1) == stored["labels"]).mean()
    assert measured.score == pytest.approx(right, abs=1e-4), measured.problem


def test_a_source_of_pictures_says_that_nothing_can_be_forecast(finished: Path, tmp_path: Path) -> None:
    import torch

    from graft.networks.network import Description, Network
    from tasks.artifacts.networks import save_network
    from tasks.results.forecast_file import read_forecast
    from tasks.results.forecast_words import gap_in_words

    for name in ("params.yaml", "build"):
        place = finished / name
        (shutil.copytree if place.is_dir() else shutil.copy)(place, tmp_path / name)
    torch.manual_seed(0)
    save_network(tmp_path / "build/pretrained", Network(Description("transformer_tiny", CLASSES, 1, 8)))
    write_forecast(tmp_path)
    found = read_forecast(tmp_path)
    assert (found.gap, found.models, found.ranking) == (None, {}, ())
    assert gap_in_words(found) == (
        "The gap between source and target is unknown, and so is what the source is worth: "
        "it reads grey images of 8 px, but the target is texts of 16 tokens."
    )

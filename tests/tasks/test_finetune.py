"""The stage `finetune` on a tiny project: what a trial leaves, and what it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from graft.data.sampling import draw_labels
from graft.data.split import Domains
from graft.loop import Kept, train
from graft.networks.batch_norm import estimate_statistics
from graft.networks.network import Description, Network, predict
from graft.settings import Training
from graft.strategies.fine_tune import FineTune
from tasks.artifacts.networks import load_network, save_network
from tasks.artifacts.splits import load_split
from tasks.common.errors import GraftError
from tasks.finetune import finetune
from tasks.trials.out_of_fold import OUT_OF_FOLD, OutOfFold
from tasks.trials.plan import Entry
from tests.house.imports import ROOT
from tests.tasks.support.evaluation_fixture import SIZE, make_project
from tests.tasks.support.reads import counted_reads

TRAINING = {"steps": 6, "batch_size": 8, "evaluations": 2}


@pytest.fixture
def project(tmp_path: Path, monkeypatch) -> Path:
    """A project before its trials; the current folder."""
    folder = make_project(tmp_path, steps={}, budgets=(2, 4))
    torch.manual_seed(0)
    save_network(folder / "build/pretrained", Network(Description("convnet_tiny", ("ant", "bee", "cat"), 1, SIZE)))
    ask(folder, strategies={"scratch": {}, "fine_tune": {}}, label_free={"source_only": {}, "mcc": {}})
    monkeypatch.chdir(folder)
    return folder


def ask(folder: Path, **sections: Any) -> None:
    path = folder / "params.yaml"
    content = yaml.safe_load(path.read_text()) | {"finetune": {"training": TRAINING}}
    path.write_text(yaml.safe_dump(content | sections))


def trial(folder: Path, entry: Entry) -> tuple[Path, dict[str, Any]]:
    finetune(entry)
    path = folder / "build/trials" / entry.name
    return path, json.loads((path / "metrics.json").read_text())


def test_a_trial_learns_from_every_paid_label_and_states_its_folds(project: Path) -> None:
    path, metrics = trial(project, Entry("fine_tune", 4, 0))
    assert path.name == "fine_tune-4-0"
    assert metrics["labels_per_class"] == 4
    # Two of five folds of 12 images hold out three each.
    assert (metrics["n_train"], metrics["folds"], metrics["folds_run"], metrics["n_validation"]) == (12, 5, 2, 6)
    assert metrics["search"] == []
    assert metrics["companions"] == []
    assert load_network(path).description.classes == ("ant", "bee", "cat")


def test_the_network_is_trained_on_all_paid_labels_by_what_the_folds_chose(project: Path) -> None:
    path, metrics = trial(project, Entry("fine_tune", 4, 0))
    target = draw_labels(load_split(project / "build/data/pool"), 4, seed=0)
    torch.manual_seed(0)
    expected = FineTune().adapt(load_network(project / "build/pretrained"), ("ant", "bee", "cat"))
    kept = Kept(metrics["selected_step"])
    train(expected, FineTune(), Domains(target.labelled), Training(**TRAINING), seed=0, keep=kept)
    for name, value in load_network(path).state_dict().items():
        torch.testing.assert_close(value, expected.state_dict()[name], msg=name)


def test_its_answers_are_out_of_fold(project: Path) -> None:
    """For every image that is held out, and scored as the trial says."""
    ask(project, strategies={"scratch": {}, "linear_probe": {}})
    path, metrics = trial(project, Entry("linear_probe", 4, 0))
    answers = OutOfFold.load(path / OUT_OF_FOLD)
    pool = load_split(project / "build/data/pool")
    paid = draw_labels(pool, 4, seed=0).paid
    assert answers.places[np.argsort(answers.places)].tolist() == sorted(paid.tolist())
    assert metrics["folds_run"] == 5, "frozen features make a fold cheap"
    assert answers.labels.tolist() == pool.labels[answers.places].tolist()
    assert metrics["validation"]["accuracy"] == pytest.approx(answers.right.mean())
    assert metrics["validation"]["nll"] == pytest.approx(answers.loss, rel=1e-5)
    learned = predict(load_network(path), pool.images[answers.places])[0]
    assert not np.allclose(learned.numpy(), answers.probabilities), "the network that is kept has learned from them"


def test_with_one_label_per_class_nothing_is_held_out(project: Path) -> None:
    ask(project, label_budgets=[1])
    path, metrics = trial(project, Entry("fine_tune", 1, 0))
    assert (metrics["n_train"], metrics["n_validation"], metrics["folds_run"]) == (3, 0, 0)
    assert set(metrics["validation"].values()) == {None}
    assert metrics["selected_step"] == TRAINING["steps"]
    assert len(OutOfFold.load(path / OUT_OF_FOLD).labels) == 0


def test_a_trial_reads_the_parameters_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = counted_reads(monkeypatch, project / "params.yaml")
    finetune(Entry("fine_tune", 2, 0))
    assert len(reads) == 1


def test_all_labels_are_learned_from(project: Path) -> None:
    ask(project, label_budgets=["all", 2])
    path, metrics = trial(project, Entry("fine_tune", "all", 0))
    assert path.name == "fine_tune-all-0"
    assert metrics["labels_per_class"] == "all"
    assert (metrics["n_train"], metrics["n_validation"]) == (40, 16)
    assert set(metrics["validation"]) == {"accuracy", "balanced_accuracy", "macro_f1", "nll"}
    _, blind = trial(project, Entry("mcc", 0, 0))
    assert blind["n_validation"] == 40, "it is compared with the largest budget"


def test_the_command_takes_the_word(project: Path) -> None:
    ask(project, label_budgets=["all"])
    command = Entry("scratch", "all", 1).command.split()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *command[1:]], check=True, env=environment, cwd=project)
    assert (project / "build/trials/scratch-all-1/metrics.json").exists()
    done = subprocess.run(
        [sys.executable, *command[1:4], "scratch", "--labels", "most", "--seed", "1"],
        env=environment, cwd=project, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "invalid read_labels value: 'most'" in done.stderr


def test_a_trial_without_labels_keeps_its_oracle_apart(project: Path) -> None:
    path, metrics = trial(project, Entry("mcc", 0, 1))
    assert path.name == "mcc-0-1"
    assert (metrics["labels_per_class"], metrics["n_train"], metrics["n_validation"]) == (0, 0, 12)
    assert metrics["companions"] == ["oracle"]
    assert load_network(path / "companions/oracle").description == load_network(path).description


def test_a_trial_without_labels_learns_from_the_whole_pool(project: Path) -> None:
    ask(project, label_free={"source_only": {}, "adabn": {}})
    path, _ = trial(project, Entry("adabn", 0, 0))
    expected = load_network(project / "build/pretrained")
    estimate_statistics(expected, load_split(project / "build/data/pool").images)
    for name, value in expected.backbone.state_dict().items():
        torch.testing.assert_close(load_network(path).backbone.state_dict()[name], value, msg=name)


def test_a_search_is_recorded_and_its_best_is_kept(project: Path) -> None:
    ask(project, tune={"trials": 3})
    _, metrics = trial(project, Entry("fine_tune", 4, 0))
    rates = [attempt["learning_rate"] for attempt in metrics["search"]]
    objectives = [attempt["objective"] for attempt in metrics["search"]]
    best = objectives.index(min(objectives))
    assert len(rates) == 3
    assert rates[0] == metrics["training"]["learning_rate"]
    assert metrics["learning_rate"] == rates[best]
    assert metrics["knobs"]["backbone_rate"] == metrics["search"][best]["backbone_rate"]


def test_a_search_needs_something_to_hold_out(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask(project, tune={"trials": 3}, label_budgets=[1])
    _, metrics = trial(project, Entry("fine_tune", 1, 0))
    assert metrics["search"] == []
    assert "no search: one label per class leaves nothing to hold out" in capsys.readouterr().out


def test_a_search_without_labels_never_asks_for_one(project: Path) -> None:
    ask(project, tune={"trials": 2}, label_free={"mcc": {"selection": "entropy"}})
    path, metrics = trial(project, Entry("mcc", 0, 0))
    best = min(attempt["objective"] for attempt in metrics["search"])
    scores = [float(row.split(",")[-1]) for row in (path / "curve.csv").read_text().split()[1:]]
    assert -best == pytest.approx(max(scores), rel=1e-4)


def test_source_pictures_that_were_chosen_are_kept_for_the_report(project: Path) -> None:
    ask(project, strategies={"scratch": {}, "adaptive_sampling": {}})
    path, _ = trial(project, Entry("adaptive_sampling", 4, 0))
    weights = np.load(path / "source_weights.npy")
    assert weights.shape == (len(load_split(project / "build/data/source")),)
    assert (weights >= 0).all()
    assert weights.max() > weights.min()


def test_a_sweep_leaves_a_network_for_each_depth(project: Path) -> None:
    ask(project, strategies={"scratch": {}, "layer_transfer": {"sweep": True}})
    path, metrics = trial(project, Entry("layer_transfer", 2, 0))
    assert sorted(metrics["companions"]) == ["depth 0", "depth 1", "depth 2"]
    for name in metrics["companions"]:
        assert load_network(path / "companions" / name).description.backbone == "convnet_tiny"


def test_the_same_trial_has_the_same_bytes(project: Path) -> None:
    def files() -> dict[str, bytes]:
        path, _ = trial(project, Entry("fine_tune", 4, 1))
        return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}

    assert files() == files()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (Entry("mcc", 4, 0), "strategies.mcc: needs no labels; move it to `label_free`"),
        (Entry("fine_tune", 0, 0), "label_free.fine_tune: learns from labels; move it to `strategies`"),
        (Entry("fine_tune", 40, 0), "trial fine_tune-40-0: 40 labels per class are asked for"),
        (Entry("finetune", 4, 0), "unknown strategy 'finetune'; did you mean 'fine_tune'"),
    ],
)
def test_what_cannot_be_had_is_said_and_nothing_is_left(project: Path, entry: Entry, message: str) -> None:
    with pytest.raises(GraftError) as caught:
        finetune(entry)
    assert message in str(caught.value)
    assert not (project / "build/trials").exists()

"""The stage `evaluate` on a tiny project: what it writes, what it chooses by, and what it refuses."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics
import yaml

from graft.measures.findings import Interval, verdict
from tasks.artifacts.splits import save_split
from tasks.common.errors import GraftError
from tasks.evaluate import evaluate
from tasks.settings.evaluate import EvaluateSettings
from tasks.trials.out_of_fold import OUT_OF_FOLD, OutOfFold
from tests.house.imports import ROOT, closure
from tests.tasks.support.evaluation_fixture import answer, edit_trial, make_project

OUTPUTS = ("build/evaluation/predictions.npz", "reports/metrics.json", "reports/index.html")
SETTINGS = EvaluateSettings(resamples=1000)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory) -> Path:
    """A project with its evaluation done; read only."""
    folder = make_project(tmp_path_factory.mktemp("project"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        evaluate(SETTINGS)
    return folder


@pytest.fixture
def project(evaluated: Path, tmp_path: Path, monkeypatch) -> Path:
    """The same project before its evaluation, to change; the current folder."""
    folder = tmp_path / "project"
    shutil.copytree(evaluated, folder, ignore=shutil.ignore_patterns("reports", "evaluation"))
    monkeypatch.chdir(folder)
    return folder


def metrics(folder: Path) -> dict:
    return json.loads((folder / "reports/metrics.json").read_text())


def written(folder: Path) -> list[str]:
    return [name for name in OUTPUTS if (folder / name).exists()]


def test_scores_follow_from_the_predictions(evaluated: Path) -> None:
    predictions = np.load(evaluated / "build/evaluation/predictions.npz")
    labels, names = predictions["labels"], predictions["trials"].tolist()
    assert predictions["probabilities"].shape == (9, 50, 3)
    assert predictions["probabilities"].dtype == np.float32
    assert names == [f"{s}-{n}" for s in ("fine_tune-4", "scratch-4", "source_only-0") for n in range(3)]
    found = metrics(evaluated)["strategies"]
    for name, probabilities in zip(names, predictions["probabilities"], strict=True):
        strategy, _, seed = name.split("-")
        accuracy = sklearn.metrics.accuracy_score(labels, probabilities.argmax(axis=1))
        assert found[strategy]["accuracy"]["seeds"][int(seed)] == round(accuracy, 4)
    for row in found.values():
        assert row["accuracy"]["mean"] == pytest.approx(np.mean(row["accuracy"]["seeds"]), abs=1e-4)
        assert row["accuracy"]["low"] <= row["accuracy"]["mean"] <= row["accuracy"]["high"]
        assert list(row["per_class_recall"]) == ["ant", "bee", "cat"]


def test_the_report_names_the_weights_and_what_does_not_fit(project: Path) -> None:
    path = project / "build/pretrained/metrics.json"
    origin = {"weights": "weights/<mine>.pth", "version": "mine.pth", "sha256": "0", "image_size": 224}
    found = {"weights": origin, "n_train": 0, "accuracy": None, "input": {"does_not_fit": ["the mean is 2.00"]}}
    path.write_text(json.dumps(json.loads(path.read_text()) | found))
    evaluate(SETTINGS)
    page = " ".join((project / "reports/index.html").read_text().split())
    assert "Begun with weights/&lt;mine&gt;.pth (mine.pth), made for 224&nbsp;px." in page
    assert "Nothing was learned from the source." in page
    assert "The input statistics do not fit the weights' normalisation</strong>: the mean is 2.00." in page


def test_the_source_model_that_was_chosen_is_the_one_that_is_told_of(project: Path) -> None:
    shutil.copytree(project / "build/pretrained", project / "build/chosen", dirs_exist_ok=True)
    path = project / "build/chosen/metrics.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "n_train": 4321}))
    evaluate(SETTINGS)
    assert "Pretrained on 4,321 source" in (project / "reports/index.html").read_text()


def test_gains_are_differences_and_verdicts_what_their_intervals_say(evaluated: Path) -> None:
    found = metrics(evaluated)["strategies"]
    assert found["fine_tune"]["verdict"] == "positive"
    assert found["scratch"]["verdict"] == "baseline"
    for name, row in found.items():
        for baseline in ("scratch", "source_only"):
            difference = row["accuracy"]["mean"] - found[baseline]["accuracy"]["mean"]
            assert row[f"gain_over_{baseline}"]["mean"] == pytest.approx(difference, abs=2e-4)
        if name != "scratch":
            assert row["verdict"] == verdict(Interval(**row["gain_over_scratch"]))


def test_a_row_says_whether_its_verdict_holds_among_all_and_what_it_is_over_source_only(evaluated: Path) -> None:
    rows = metrics(evaluated)["strategies"]
    assert (rows["fine_tune"]["verdict"], rows["fine_tune"]["holds_among_all"]) == ("positive", True)
    assert not rows["scratch"]["holds_among_all"]
    over = {name: row["verdict_over_source_only"] for name, row in rows.items()}
    assert (over["fine_tune"], over["source_only"]) == ("positive", "baseline")
    assert (rows["scratch"]["gain_over_source_only"]["low"] > 0) == (over["scratch"] == "positive")


def test_the_candidate_is_the_best_out_of_fold(evaluated: Path) -> None:
    report = metrics(evaluated)
    assert report["candidate"]["strategy"] == "fine_tune"
    assert report["budget"] == {
        "labels_per_class": 4,
        "n_paid": 12,
        "folds": 5,
        "seeds": [0, 1, 2],
    }
    assert report["test"] == {"n": 50, "kind": "images", "classes": ["ant", "bee", "cat"]}


def test_the_test_split_never_chooses(project: Path) -> None:
    """On test scratch is far worse than fine_tune. Its first seed is the candidate, though another did better."""
    for trial in (project / "build/trials").iterdir():
        right = {"scratch-4-0": 0.9, "scratch-4-1": 0.95, "scratch-4-2": 0.95}.get(trial.name, 0.7)
        answer(trial, right)
        edit_trial(trial, validation={"accuracy": right, "macro_f1": 0.9, "nll": 0.2})
    evaluate(SETTINGS)
    candidate = metrics(project)["candidate"]
    assert (candidate["trial"], candidate["validation_accuracy"]) == ("scratch-4-0", 0.9)
    assert "the folds chose scratch" in (project / "reports/index.html").read_text()


def test_again_gives_the_same_bytes(evaluated: Path, project: Path) -> None:
    evaluate(SETTINGS)
    for name in OUTPUTS:
        assert (project / name).read_bytes() == (evaluated / name).read_bytes(), name


def test_trials_no_longer_asked_for_are_swept(project: Path) -> None:
    content = yaml.safe_load((project / "params.yaml").read_text())
    del content["label_free"]["source_only"]
    (project / "params.yaml").write_text(yaml.safe_dump({**content, "seeds": [0, 1]}))
    evaluate(SETTINGS)
    left = sorted(path.name for path in (project / "build/trials").iterdir())
    assert left == ["fine_tune-4-0", "fine_tune-4-1", "scratch-4-0", "scratch-4-1"]
    rows = metrics(project)["strategies"]
    assert sorted(rows) == ["fine_tune", "scratch"]
    assert rows["fine_tune"]["gain_over_source_only"] is None
    assert "source_only" not in (project / "reports/index.html").read_text().split("All scores")[0]


def test_one_seed_gives_no_interval_and_no_evidence(project: Path) -> None:
    content = yaml.safe_load((project / "params.yaml").read_text())
    (project / "params.yaml").write_text(yaml.safe_dump({**content, "seeds": [1]}))
    evaluate(SETTINGS)
    row = metrics(project)["strategies"]["fine_tune"]
    assert row["gain_over_scratch"]["mean"] > 0.1
    assert row["gain_over_scratch"]["low"] is row["accuracy"]["high"] is None
    assert row["verdict"] == "no evidence"
    assert "One seed" in (project / "reports/index.html").read_text()


def test_every_missing_trial_is_named_with_its_command(project: Path) -> None:
    shutil.rmtree(project / "build/trials/scratch-4-1")
    (project / "build/trials/fine_tune-4-2/curve.csv").unlink()
    (project / "build/trials/fine_tune-4-0/metrics.json").write_text("{")
    with pytest.raises(GraftError) as caught:
        evaluate(SETTINGS)
    assert len(caught.value.problems) == 3
    by_hand = "python -m tasks.finetune --strategy"
    for expected in (
        f"scratch-4-1: metrics.json is missing; make it with: {by_hand} scratch --labels 4 --seed 1",
        f"fine_tune-4-2: curve.csv is missing; make it with: {by_hand} fine_tune --labels 4 --seed 2",
        "fine_tune-4-0: cannot be read: JSONDecodeError",
    ):
        assert expected in str(caught.value)
    assert written(project) == []


def test_trials_with_another_budget_are_not_compared(project: Path) -> None:
    edit_trial(project / "build/trials/scratch-4-1", training={"steps": 9})
    with pytest.raises(GraftError, match=r"scratch-4-1: training is .*9.*, but .*60.* in fine_tune-4-0"):
        evaluate(SETTINGS)


def test_a_trial_that_answers_in_other_classes_is_refused(project: Path) -> None:
    path = project / "build/trials/scratch-4-0/model.json"
    path.write_text(path.read_text().replace("bee", "wasp"))
    with pytest.raises(GraftError, match=r"scratch-4-0: predicts ant, wasp, cat, but the test split has ant, bee, cat"):
        evaluate(SETTINGS)
    assert written(project) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"strategies": {"fine_tune": {}}}, r"'scratch' is missing.*found: fine_tune"),
        ({"seeds": []}, "at least one seed"),
        ({"seeds": [0, 1, 1]}, "1 is given twice"),
        ({"seeds": 3}, r"params\.yaml: seeds: .*array, got 3"),
    ],
)
def test_a_plan_that_cannot_be_compared_is_refused(project: Path, change, complaint) -> None:
    content = yaml.safe_load((project / "params.yaml").read_text())
    (project / "params.yaml").write_text(yaml.safe_dump({**content, **change}))
    with pytest.raises(GraftError, match=complaint):
        evaluate(SETTINGS)


def test_the_command_works_alone_and_the_page_names_the_code_that_ran(evaluated: Path, project: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "tasks.evaluate"], check=True, env=environment, cwd=project)
    assert metrics(project) == metrics(evaluated)
    page = (project / "reports/index.html").read_text()
    named = set(re.findall(r"<tr><td><code>(\S+?)</code></td><td><code>[0-9a-f]{40}</code>", page))
    templates = set((ROOT / "tasks/report/templates").iterdir())
    used = closure(ROOT / "tasks/evaluate.py") | templates
    assert named == {str(path.relative_to(ROOT)) for path in used}


@pytest.fixture
def uneven(project: Path) -> Path:
    """The project with few test images of bee and cat."""
    folder = project / "build/data/test"
    images, labels = np.load(folder / "images.npy"), np.load(folder / "labels.npy")
    kept = np.concatenate([np.flatnonzero(labels == label)[:count] for label, count in enumerate((15, 6, 4))])
    save_split(folder, images[kept], labels[kept], ["ant", "bee", "cat"])
    return project


def test_balanced_accuracy_leads_where_classes_are_not_equally_frequent(uneven: Path) -> None:
    evaluate(SETTINGS)
    report = metrics(uneven)
    assert report["metric"] == {
        "name": "balanced_accuracy",
        "asked": "auto",
        "fewest_of_a_class": 4,
        "most_of_a_class": 15,
    }
    predictions = np.load(uneven / "build/evaluation/predictions.npz")
    found = {}
    for name, probabilities in zip(predictions["trials"].tolist(), predictions["probabilities"], strict=True):
        score = sklearn.metrics.balanced_accuracy_score(predictions["labels"], probabilities.argmax(axis=1))
        found.setdefault(name.split("-")[0], []).append(score)
    for name, row in report["strategies"].items():
        gain = np.mean(found[name]) - np.mean(found["scratch"])
        assert row["balanced_accuracy"]["mean"] == pytest.approx(np.mean(found[name]), abs=1e-4)
        assert row["gain_over_scratch"]["mean"] == pytest.approx(gain, abs=1e-4)
        assert row["accuracy"]["mean"] != row["balanced_accuracy"]["mean"]
    page = (uneven / "reports/index.html").read_text()
    assert "Balanced accuracy leads" in page
    assert "one class is more than 2 times as frequent as another (4 to 15 per class)" in page
    assert "points of balanced accuracy over scratch" in page
    assert "<th>balanced accuracy %</th>" in page


def test_a_metric_that_is_asked_for_leads(uneven: Path) -> None:
    evaluate(replace(SETTINGS, metric="macro_f1"))
    report = metrics(uneven)
    assert (report["metric"]["name"], report["metric"]["asked"]) == ("macro_f1", "macro_f1")
    rows = report["strategies"]
    for row in rows.values():
        difference = row["macro_f1"]["mean"] - rows["scratch"]["macro_f1"]["mean"]
        assert row["gain_over_scratch"]["mean"] == pytest.approx(difference, abs=2e-4)
    assert report["candidate"]["chosen_by"] == "macro-F1 out of fold"
    assert "as evaluate.metric in params.yaml asks" in (uneven / "reports/index.html").read_text()


def test_the_candidate_is_chosen_by_the_metric_that_leads(uneven: Path) -> None:
    labels = np.array([0] * 30 + [1] * 5 + [2] * 5)
    for trial in (uneven / "build/trials").iterdir():
        wrong = labels == 0 if trial.name.startswith("scratch") else labels > 0
        wrong &= np.arange(40) % 2 == 0
        wrong |= trial.name.startswith("source_only")
        said = np.eye(3, dtype=np.float32)[np.where(wrong, (labels + 1) % 3, labels)]
        OutOfFold(np.arange(40), labels, said).save(trial / OUT_OF_FOLD)
    evaluate(SETTINGS)
    assert metrics(uneven)["candidate"]["strategy"] == "scratch"
    evaluate(replace(SETTINGS, metric="accuracy"))
    assert metrics(uneven)["candidate"]["strategy"] == "fine_tune"


def test_all_labels_are_the_largest_budget_and_stand_at_their_mean_number(tmp_path: Path, monkeypatch) -> None:
    folder = make_project(tmp_path, budgets=(4, "all"))
    monkeypatch.chdir(folder)
    evaluate(SETTINGS)
    report = metrics(folder)
    assert report["candidate"]["trial"].startswith("fine_tune-all-")
    assert (report["budget"]["labels_per_class"], list(report["smaller_budgets"])) == ("all", ["4"])
    assert report["budget"]["n_paid"] == 40
    page = (folder / "reports/index.html").read_text()
    assert "with all labels" in page
    assert "All: 13.3 labels per class on average" in page
    assert "<strong>Paid in labels:</strong> 40 labelled" in page
    svg = (folder / "build/evaluation/figures/label_efficiency.svg").read_text()
    assert re.findall(r">(4|all)</text>", svg) == ["4", "all"]

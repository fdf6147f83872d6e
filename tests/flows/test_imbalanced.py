"""The main job on a target whose classes are far from equally frequent, with all of its labels."""

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics

from tests.flows.project import Project

COUNTS = {"train": (60, 20, 8), "test": (80, 20, 10)}
"""Images of each class."""


def write_data(folder: Path) -> None:
    """A bright row tells the class; the target's is fainter than the source's."""
    random = np.random.default_rng(0)

    def save(path: Path, counts: tuple[int, ...], brightness: int) -> None:
        labels = np.repeat(np.arange(len(counts)), counts)
        images = random.integers(0, 120, (len(labels), 16, 16))
        images[np.arange(len(labels)), 3 + 4 * labels] += brightness
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, images=images.clip(max=255).astype(np.uint8), labels=labels, class_names=["a", "b", "c"])

    save(folder / "source/train.npz", (100, 100, 100), 130)
    for split, counts in COUNTS.items():
        save(folder / f"target/{split}.npz", counts, 60)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> tuple[Project, str]:
    """The project after its run, and what that printed."""
    project = Project.create(tmp_path_factory.mktemp("imbalanced"))
    write_data(project.root / "data")
    project.edit(
        label_budgets=[2, "all"], finetune={"training": {"steps": 30, "evaluations": 3, "class_weights": "balanced"}}
    )
    result = project.graft("run", "--update-data", env={"PREFECT_API_URL": prefect_api, "COLUMNS": "80"})
    assert result.returncode == 0, result.stdout + result.stderr
    return project, result.stdout


@pytest.fixture
def copy(ran: tuple[Project, str], tmp_path: Path) -> Project:
    """The same project, to change; MLflow's files name their folder, so they do not move along."""
    shutil.copytree(ran[0].root, tmp_path / "copy", symlinks=True, ignore=shutil.ignore_patterns("mlflow"))
    return Project(tmp_path / "copy")


def test_all_is_a_budget_and_balanced_accuracy_leads(ran: tuple[Project, str]) -> None:
    project, output = ran
    found = project.metrics
    assert (found["metric"]["name"], found["metric"]["most_of_a_class"]) == ("balanced_accuracy", 80)
    assert found["budget"]["n_paid"] == 60 + 20 + 8
    words = " ".join(output.split())
    assert "All 88 labels" in words
    assert "Balanced accuracy leads" in words
    assert "Balanced accuracy % by labels per class (all: 29.3 on average)" in words
    predictions = np.load(project.root / "build/evaluation/predictions.npz")
    for name, probabilities in zip(predictions["trials"].tolist(), predictions["probabilities"], strict=True):
        strategy, labels, seed = name.split("-")
        rows = found["smaller_budgets"]["2"] if labels == "2" else found["strategies"]
        score = sklearn.metrics.balanced_accuracy_score(predictions["labels"], probabilities.argmax(axis=1))
        assert rows[strategy]["balanced_accuracy"]["seeds"][int(seed)] == round(score, 4)


def test_dvc_agrees_that_nothing_is_left_to_do(ran: tuple[Project, str]) -> None:
    assert ran[0].dvc("status").stdout.strip() == "Data and pipelines are up to date."


def test_mlflow_names_the_metric_and_draws_all_at_its_mean_number(ran: tuple[Project, str]) -> None:
    with sqlite3.connect(ran[0].root / ".graft/mlflow/mlflow.db") as database:
        steps = database.execute("select step from metrics where key = 'balanced_accuracy_by_labels/scratch'")
        assert sorted(step for (step,) in steps) == [2, 29]
        tags = database.execute("select value from tags where key = 'graft.metric'")
        assert tags.fetchall() == [("balanced_accuracy",)]
        groups = database.execute("select distinct value from tags where key = 'strategy_at_budget'")
        assert {value for (value,) in groups} >= {"scratch, all labels", "scratch, 2 labels per class"}


def test_another_metric_evaluates_anew_and_trains_nothing(copy: Project, prefect_api: str) -> None:
    before = copy.times()
    copy.edit(evaluate={"metric": "accuracy"})
    result = copy.graft("run", env={"PREFECT_API_URL": prefect_api})
    assert result.returncode == 0, result.stdout + result.stderr
    after = copy.times()
    assert {name for name in before if before[name] != after[name]} == {"evaluation"}
    assert copy.metrics["metric"] == {
        "name": "accuracy",
        "asked": "accuracy",
        "fewest_of_a_class": 10,
        "most_of_a_class": 80,
    }


def test_too_large_a_number_is_told_of_all(copy: Project) -> None:
    copy.edit(label_budgets=[5000])
    result = copy.graft("data", "check")
    assert result.returncode == 2, result.stdout
    assert "class 'c' has 8 labels" in result.stderr
    assert "or use `all`, which takes what is there" in result.stderr
    assert "Traceback" not in result.stderr

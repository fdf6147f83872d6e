from pathlib import Path

import yaml

from tasks.new_project.answers import STRATEGIES, Answers
from tasks.new_project.create import create
from tasks.new_project.presets import PRESETS
from tasks.trials.effort import effort
from tests.house.imports import ROOT


def project(folder: Path, **changes: object) -> Path:
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8")) | {
        "seeds": [0, 1],
        "label_budgets": [5],
        "strategies": {"scratch": {}, "linear_probe": {}, "mixed_training": {}},
        "label_free": {"source_only": {}, "mcc": {}},
    }
    folder.mkdir()
    (folder / "params.yaml").write_text(yaml.safe_dump(content | changes), encoding="utf-8")
    return folder


def test_trainings_and_images_are_counted(tmp_path: Path) -> None:
    """Of two folds and all labels: scratch, and mixed_training with source images; once: mcc, with them."""
    found = effort(project(tmp_path / "plain"))
    assert (found.trials, found.trainings) == (10, 2 * (3 + 3 + 1))
    pretraining, training = 1000 * 128, 200 * 64
    assert found.images == pretraining + 2 * training * (3 * 1 + 3 * 2 + 1 * 2)
    assert found.seconds is not None
    assert found.seconds > 0


def test_a_search_trains_the_folds_for_each_of_its_trials(tmp_path: Path) -> None:
    found = effort(project(tmp_path / "searched", tune={"trials": 4}))
    assert found.trainings == 2 * (9 + 9 + 4)


def test_the_time_is_unknown_where_only_the_weights_say_what_network_it_is(tmp_path: Path) -> None:
    given = {"weights": "weights/a.safetensors", "learn": "nothing"}
    found = effort(project(tmp_path / "given", pretrain=given))
    assert found.seconds is None
    assert found.images == 2 * 200 * 64 * (3 * 1 + 3 * 2 + 1 * 2), "nothing is pretrained"


def test_a_preset_that_takes_longer_compares_more(tmp_path: Path) -> None:
    found = []
    for name in ("quick", "standard", "best"):
        preset = PRESETS[name]
        answers = Answers("a", strategies=preset.strategies(STRATEGIES), seeds=preset.seeds, settings=preset.settings)
        create(tmp_path / name, answers, git=False)
        found.append(effort(tmp_path / name).trainings)
    assert found == sorted(set(found))

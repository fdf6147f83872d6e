"""Further source models: made, ranked, and one of them before the trials."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from graft.networks.network import Description, Network
from tasks.artifacts.networks import load_network, save_network
from tasks.artifacts.splits import load_split
from tasks.checks.parameters import check_parameters
from tasks.common.errors import GraftError
from tasks.common.places import TRIALS
from tasks.finetune import finetune
from tasks.forecast import write_forecast
from tasks.settings.sources import read_source, read_use, source_names
from tasks.source import source
from tasks.source_models.in_use import network_of, pictures_of
from tasks.trials.on_disk import load_trials
from tasks.trials.plan import Plan, read_plan
from tests.tasks.support.forecast_fixture import CLASSES, change, make_project, rows

TRAINING = {"steps": 40, "batch_size": 32, "learning_rate": 0.02, "evaluations": 2}
FORECAST = {"images": 50, "permutations": 99, "untrained": 1}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A project with three further sources: untrained weights, images of its own, and the own images again."""
    root = make_project(tmp_path_factory.mktemp("project"))
    for seed, (name, part) in enumerate((("target", "train"), ("target", "test"), ("other", "train"))):
        (root / "data" / name).mkdir(parents=True, exist_ok=True)
        images, labels = rows(80, seed=seed)
        np.savez(root / f"data/{name}/{part}.npz", images=images[:, 0], labels=labels, class_names=CLASSES)
    (root / "data.dvc").write_text("outs:\n- md5: 0123456789abcdef0123456789abcdef.dir\n  path: data\n")
    (root / "weights/idle").mkdir(parents=True)
    torch.manual_seed(0)
    save_network(root / "weights/idle", Network(Description("convnet_tiny", ("x", "y"), 3, 16)))
    sources = {
        "idle": {"weights": "weights/idle", "learn": "nothing"},
        "other": {"source": "data/other", "seed": 4},
        "again": {"training": {**TRAINING, "steps": 2}},
    }
    prepare = {"image_size": 8, "target": "data/target"}
    change(
        root,
        prepare=prepare,
        pretrain={"backbone": "convnet_tiny", "training": TRAINING},
        sources=sources,
        forecast=FORECAST,
    )
    for name in sources:
        source(root, name)
    return root


def forecast(project: Path, use: str) -> dict[str, Any]:
    change(project, use=use)
    write_forecast(project)
    found: dict[str, Any] = json.loads((project / "build/forecast/forecast.json").read_text())
    return found


def test_each_source_is_made_as_it_says_and_otherwise_as_the_own_one(project: Path) -> None:
    made = {name: load_network(project / "build/sources" / name) for name in ("idle", "other", "again")}
    assert made["idle"].description.classes == ("x", "y")
    assert made["again"].description.classes == tuple(CLASSES)
    assert made["other"].description.mean != made["again"].description.mean
    assert len(load_split(project / "build/sources/other/data")) == 80
    assert not (project / "build/sources/idle/data").exists()


def test_the_forecast_ranks_them_and_the_best_stands_before_the_trials(project: Path) -> None:
    found = forecast(project, "best")
    assert set(found["ranking"]) == {"pretrained", "idle", "other", "again"}
    assert found["chosen"] == found["ranking"][0]
    assert found["ranking"].index("idle") >= 2
    assert json.loads((project / "build/chosen/choice.json").read_text()) == {"source": found["chosen"]}


def test_a_source_that_is_named_is_used_with_its_pictures(project: Path) -> None:
    assert forecast(project, "other")["chosen"] == "other"
    chosen = load_network(network_of(project=project))
    expected = load_network(project / "build/sources/other")
    assert all(torch.equal(a, b) for a, b in zip(chosen.parameters(), expected.parameters(), strict=True))
    assert torch.equal(
        load_split(pictures_of(project=project)).images, load_split(project / "build/sources/other/data").images
    )


def test_a_source_without_pictures_of_its_own_has_those_of_the_project(project: Path) -> None:
    forecast(project, "idle")
    assert network_of(project=project) == project / "build/chosen"
    assert pictures_of(project=project) == project / "build/data/source"


def test_the_own_model_is_used_where_nothing_else_is_said(project: Path) -> None:
    assert forecast(project, "pretrained")["chosen"] == "pretrained"
    assert [path.name for path in (project / "build/chosen").iterdir()] == ["choice.json"]
    assert network_of(project=project) == project / "build/pretrained"
    assert pictures_of(project=project) == project / "build/data/source"


def test_a_strategy_begins_with_every_further_source_and_each_is_a_trial_of_its_own(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(project, seeds=[0], label_budgets=[2], strategies={"scratch": {}, "fine_tune": {}}, label_free={})
    change(project, every_source=["fine_tune"], finetune={"training": {"steps": 2}})
    monkeypatch.chdir(project)
    entries = [entry for entry in read_plan(Path("params.yaml")).entries() if entry.source]
    assert [entry.name for entry in entries] == [f"fine_tune@{name}-2-0" for name in ("again", "idle", "other")]
    for entry in entries:
        finetune(entry)
        trained, began = load_network(TRIALS / entry.name), load_network(Path("build/sources", entry.source))
        assert trained.description.mean == began.description.mean
        assert trained.description.classes == tuple(CLASSES)
    assert load_trials(TRIALS, Plan(("fine_tune@idle", "fine_tune@other"), (), (2,), (0,)))


class TestParameters:
    @pytest.fixture
    def params(self, tmp_path: Path) -> Path:
        (tmp_path / "params.yaml").write_text(
            "seeds: [0]\nlabel_budgets: [1]\nstrategies: {scratch: {}}\nlabel_free: {}\n"
        )
        return tmp_path / "params.yaml"

    def test_weights_of_section_pretrain_are_not_inherited(self, params: Path) -> None:
        pretrain = {"weights": "timm:resnet18", "learn": "head", "seed": 7}
        change(params.parent, pretrain=pretrain, prepare={"source": "data/source"}, sources={"b": {"source": "data/b"}})
        data, model = read_source(params, "b")
        assert data is not None
        assert (data.source, model.weights, model.learn, model.seed) == ("data/b", "none", "all", 7)

    def test_all_faults_are_said_at_once(self, params: Path) -> None:
        sources = {"a": {"wieghts": "x", "seed": -1}, "b": {"source": 3}, "c": {"learn": "some"}}
        change(params.parent, sources=sources, use="d", pretrain={"weights_sha": ""})
        with pytest.raises(GraftError) as caught:
            check_parameters(params.parent)
        for part in (
            "sources.a.wieghts: unknown key; did you mean 'weights'?",
            "sources.b.source: input should be a valid string, got 3",
            "sources.c.learn: ",
            "use: unknown source model 'd'",
            "pretrain.weights_sha: unknown key; did you mean 'weights_sha256'?",
        ):
            assert part in str(caught.value)

    @pytest.mark.parametrize("name", ["pretrained", "best", "weights", "a/b", "../x", "a b", ""])
    def test_names_that_cannot_be_folders_or_mean_something_else(self, params: Path, name: str) -> None:
        change(params.parent, sources={name: {}})
        with pytest.raises(GraftError, match=r"sources\."):
            source_names(params)

    @pytest.mark.parametrize(
        ("named", "fault"),
        [
            (["scratch"], "'scratch' does not start from a source model"),
            (["fine_tune"], "'fine_tune' is not one of `strategies`"),
            (["mixup", "mixup"], "every_source: mixup is given twice"),
        ],
    )
    def test_what_begins_with_every_source_has_to_be_a_strategy_that_is_compared(
        self, params: Path, named: list[str], fault: str
    ) -> None:
        change(params.parent, every_source=named, sources={"b": {}})
        with pytest.raises(GraftError, match=re.escape(fault)):
            read_plan(params)

    def test_there_has_to_be_a_further_source_to_begin_with(self, params: Path) -> None:
        change(params.parent, every_source=["scratch"])
        with pytest.raises(GraftError, match="there is no further source model to start from"):
            read_plan(params)

    def test_without_the_sections_the_own_model_is_all_there_is(self, params: Path) -> None:
        assert source_names(params) == []
        assert read_use(params) == "pretrained"

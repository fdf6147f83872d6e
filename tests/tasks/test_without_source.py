"""A target and given weights, without a source: the stages make do, and what needs source data says so."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import save_file

from flows.views.forecast import forecast_view
from graft.networks.network import Description, Network
from tasks.artifacts.networks import load_network, save_network
from tasks.artifacts.splits import load_split
from tasks.checks.strategies import check_suitability
from tasks.common.errors import GraftError
from tasks.common.npz import save_npz
from tasks.common.yaml_files import load_yaml
from tasks.evaluate import evaluate
from tasks.finetune import finetune
from tasks.forecast import write_forecast
from tasks.prepare import prepare
from tasks.pretrain import pretrain
from tasks.results.forecast_file import read_forecast
from tasks.settings.evaluate import EvaluateSettings
from tasks.settings.prepare import PrepareSettings
from tasks.settings.pretrain import PretrainSettings
from tasks.settings.yaml_sections import parse, read_section
from tasks.trials.plan import Entry
from tasks.weights import weights
from tests.tasks.support.forecast_fixture import CLASSES, rows

PARAMS = {
    "seeds": [0],
    "label_budgets": [4],
    "strategies": {"scratch": {}, "linear_probe": {}},
    "label_free": {},
    "prepare": {"source": "none", "image_size": 8},
    "pretrain": {"weights": "weights/given", "learn": "nothing"},
    "forecast": {"untrained": 1},
    "finetune": {"training": {"steps": 10, "batch_size": 12, "evaluations": 2}},
    "tune": {"trials": 0},
    "evaluate": {"resamples": 1000},
    "sources": {},
    "use": "pretrained",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A target of 8 px, packed, and a network of other classes in weights/; the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/target").mkdir(parents=True)
    for split, seed in (("train", 1), ("test", 2)):
        images, labels = rows(60, seed=seed)
        save_npz(
            tmp_path / f"data/target/{split}.npz", images=images[:, 0], labels=labels, class_names=np.array(CLASSES)
        )
    (tmp_path / "data.dvc").write_text("outs:\n- md5: 0123456789abcdef0123456789abcdef.dir\n  path: data\n")
    (tmp_path / "weights/given").mkdir(parents=True)
    torch.manual_seed(0)
    save_network(tmp_path / "weights/given", Network(Description("convnet_tiny", ("x", "y"), 1, 8, (0.3,), (0.3,))))
    write(PARAMS)
    return tmp_path


def write(params: dict) -> None:
    Path("params.yaml").write_text(yaml.safe_dump(params))


def until_pretrained(project: Path) -> None:
    prepare(project, read_section(Path("params.yaml"), "prepare", PrepareSettings))
    weights(project)
    pretrain(read_section(Path("params.yaml"), "pretrain", PretrainSettings))


def test_all_stages_run_on_a_target_and_weights_alone(project: Path) -> None:
    until_pretrained(project)
    assert len(load_split(Path("build/data/source"))) == 0
    given = load_network(Path("weights/given")).state_dict()
    assert all(
        torch.equal(value, given[name]) for name, value in load_network(Path("build/pretrained")).state_dict().items()
    )
    check_suitability(project)
    write_forecast(project)
    found = json.loads(Path("build/forecast/forecast.json").read_text())
    assert found["gap"] is None
    assert found["models"]["pretrained"]["budgets"]
    for name in PARAMS["strategies"]:
        finetune(Entry(name, 4, 0))
    evaluate(parse(load_yaml(Path("params.yaml"))["evaluate"], EvaluateSettings, where="evaluate"))
    page = Path("reports/index.html").read_text()
    assert "There is no source but the weights that were given." in page
    assert "Nothing was learned from the source" in page


def test_weights_without_a_head_are_taken_as_they_are(project: Path) -> None:
    body = load_network(project / "weights/given").backbone.state_dict()
    save_file(body, project / "weights/body.safetensors")
    stated = {"backbone": "convnet_tiny", "image_size": 8, "mean": [0.3], "std": [0.3], "channels": 1}
    (project / "weights/body.yaml").write_text(yaml.safe_dump(stated))
    strategies = {"scratch": {}, "fine_tune": {"head": "probe"}, "co_tuning": {}}
    params = PARAMS | {"pretrain": {"weights": "weights/body.safetensors", "learn": "nothing"}}
    write(params | {"strategies": strategies})
    until_pretrained(project)
    assert load_network(Path("build/pretrained")).description.classes == ()
    with pytest.raises(GraftError, match=r"strategies.co_tuning: .* the source's weights have no head"):
        check_suitability(project)
    del strategies["co_tuning"]
    write(params | {"strategies": strategies})
    check_suitability(project)
    write_forecast(project)
    found = json.loads(Path("build/forecast/forecast.json").read_text())
    scores = found["models"]["pretrained"]["budgets"][0]["source"]
    assert (scores["leep"], scores["nce"]) == (None, None)
    assert scores["logme"] is not None
    console = Console(record=True, width=100)
    console.print(forecast_view(read_forecast(Path()), None))
    assert re.search(r"^ *4 .* – +– ", console.export_text(), re.MULTILINE)
    for name in strategies:
        finetune(Entry(name, 4, 0))
    evaluate(parse(load_yaml(Path("params.yaml"))["evaluate"], EvaluateSettings, where="evaluate"))
    assert "<td>–</td>" in Path("reports/index.html").read_text()


def test_a_normalisation_that_does_not_fit_the_target_is_warned_of(project: Path, capsys) -> None:
    torch.manual_seed(0)
    save_network(project / "weights/given", Network(Description("convnet_tiny", ("x", "y"), 1, 8, (0.95,), (0.1,))))
    until_pretrained(project)
    write_forecast(project)
    assert "warning: the target's statistics do not fit" in capsys.readouterr().out
    assert json.loads(Path("build/forecast/forecast.json").read_text())["input"]["does_not_fit"]


@pytest.mark.parametrize("change", [{"weights": "none"}, {"learn": "head"}])
def test_what_would_learn_from_the_source_is_refused(project: Path, change: dict) -> None:
    write(PARAMS | {"pretrain": PARAMS["pretrain"] | change})
    with pytest.raises(GraftError, match=r"prepare.source is none, so pretrain has no images to train on"):
        until_pretrained(project)


def test_strategies_that_train_on_the_source_are_refused_before_anything_is_trained(project: Path) -> None:
    write(PARAMS | {"strategies": {"scratch": {}, "mixed_training": {}}})
    until_pretrained(project)
    with pytest.raises(GraftError, match=r"strategies.mixed_training: it also trains on source data, but there is no"):
        check_suitability(project)
    with pytest.raises(GraftError, match=r"it also trains on source data, but there is none"):
        finetune(Entry("mixed_training", 4, 0))

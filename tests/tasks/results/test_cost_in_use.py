"""What networks cost in use, as `graft cost` shows it."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from flows.views.cost import cost_view
from graft.measures.cost import multiply_adds, parameters
from graft.networks.network import predict
from tasks.artifacts.networks import load_network
from tasks.artifacts.splits import load_split
from tasks.common.errors import GraftError
from tasks.evaluate import evaluate
from tasks.results.cost_in_use import measure
from tasks.settings.evaluate import EvaluateSettings
from tests.tasks.support.evaluation_fixture import make_project


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = make_project(tmp_path_factory.mktemp("project"), steps={"scratch": 2, "fine_tune": 8}, seeds=(0,))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        evaluate(EvaluateSettings(resamples=1000))
    return folder


def test_every_network_is_measured_beside_the_one_it_learned_from(project: Path) -> None:
    teacher, *others = measure(project)
    network = load_network(project / "build/pretrained")
    test = load_split(project / "build/data/test")
    right = predict(network, test.images)[0].argmax(dim=1) == test.labels
    assert teacher.name == "pretrained"
    assert teacher.accuracy == pytest.approx(right.double().mean().item(), abs=1e-4)
    assert (teacher.parameters, teacher.multiply_adds) == (parameters(network), multiply_adds(network))
    assert [one.name for one in others] == ["fine_tune", "scratch"]
    assert all(one.accuracy is not None and min(one.milliseconds) > 0 for one in others)


def test_the_table_fits_eighty_columns(project: Path) -> None:
    console = Console(file=StringIO(), width=80)
    console.print(cost_view(measure(project)))
    page = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in page
    assert "fine_tune" in page


def test_without_a_result_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(GraftError, match=r"^there is no network to measure yet\nMake one: graft run$"):
        measure(tmp_path)

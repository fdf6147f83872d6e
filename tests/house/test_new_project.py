"""What `graft init` writes does not drift from the files that Graft ships."""

import importlib
from pathlib import Path

import pytest
import yaml

from tasks.checks.parameters import SECTIONS, check_parameters
from tasks.new_project.answers import Answers
from tasks.new_project.templates import DVC_IGNORED, FLOW, IGNORED, project_files
from tests.house.imports import ROOT

EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/dvc.yaml"))
SHIPPED = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


def test_a_project_has_every_section_and_key_of_the_shipped_settings() -> None:
    files = {
        name: yaml.safe_load(text) for name, text in project_files(Answers("mine")).items() if name.endswith(".yaml")
    }
    for name in ("params.yaml", "mlflow.yaml", "prefect.yaml"):
        shipped = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
        assert list(files[name]) == list(shipped)
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for section in SECTIONS:
        assert files["params.yaml"][section].keys() == params[section].keys(), section


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_is_what_a_new_project_is(example: Path) -> None:
    assert (example / "dvc.yaml").read_text(encoding="utf-8") == (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    params = yaml.safe_load((example / "params.yaml").read_text(encoding="utf-8"))
    assert list(params) == list(yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8")))
    check_parameters(example, knobs=True)


def test_git_and_dvc_leave_out_of_a_project_what_they_leave_out_here() -> None:
    assert set(IGNORED) <= set((ROOT / ".gitignore").read_text().splitlines())
    assert list(DVC_IGNORED) == (ROOT / ".dvcignore").read_text().splitlines()[1:]
    cached = [out for stage in SHIPPED.values() for out in stage["outs"]]
    assert all(out == "reports/index.html" or out.startswith("build/") for out in cached)


def test_prefect_finds_the_flow_of_a_project_in_the_package() -> None:
    module, _, name = FLOW.rpartition(".")
    assert getattr(importlib.import_module(module), name).name == "transfer"

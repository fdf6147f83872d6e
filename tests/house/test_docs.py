"""What the documentation shows works as it stands there."""

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

import graft.strategies
from flows.views.strategies import explain, overview
from graft.strategies import misnamed_files
from tasks.checks.parameters import check_parameters
from tasks.evaluate import evaluate
from tasks.finetune import finetune
from tasks.settings.evaluate import EvaluateSettings
from tasks.settings.yaml_sections import parse, read_section
from tasks.source_models.from_file import Stated
from tasks.stage.code import closure, current, stage_files
from tasks.trials.plan import Entry
from tests.flows.views.test_strategies import shown
from tests.graft.strategies import test_contract
from tests.house.imports import ROOT
from tests.tasks.support.evaluation_fixture import make_project

READMES = ("README.md", "README.zh-CN.md")
STRATEGIES = (ROOT / "docs/how-to/new-strategy.md").read_text(encoding="utf-8")
ENTRY = re.search(r"^  norm_tune: .*\n", STRATEGIES, re.MULTILINE)[0]
"""The line of params.yaml that the page shows."""


@pytest.fixture
def norm_tune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The strategy of the page's example, found like those of Graft."""
    place, code = re.search(r"Take `(\S+)`:\n\n```python\n(.*?)```", STRATEGIES, re.DOTALL).groups()
    assert place == "graft/strategies/norm_tune.py"
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_text(code, encoding="utf-8")
    folder = (tmp_path / place).parent
    monkeypatch.setattr(graft.strategies, "_FOLDERS", graft.strategies._FOLDERS | {folder: "graft/strategies"})
    monkeypatch.setattr(graft.strategies, "__path__", [*graft.strategies.__path__, str(folder)])
    yield tmp_path / place
    sys.modules.pop("graft.strategies.norm_tune", None)


def test_the_worked_example_of_a_strategy_keeps_the_contract(norm_tune: Path) -> None:
    page = shown(explain("norm_tune"))
    assert "norm_rate" in page
    assert "shared architecture" in page.lower()
    assert "norm_tune Freeze the source's filters" in shown(overview())
    assert not misnamed_files()

    pretrained, passed = test_contract.pretrain(), 0
    for check in vars(test_contract).values():
        if any(mark.args[0] == "name" for mark in getattr(check, "pytestmark", ())):
            needed = {"pretrained": pretrained} if "pretrained" in inspect.signature(check).parameters else {}
            check("norm_tune", **needed)
            passed += 1
    assert passed > 5


def test_its_file_is_the_code_of_its_own_trials_and_of_no_others(norm_tune: Path, tmp_path: Path) -> None:
    assert closure(norm_tune) - {norm_tune} <= stage_files("finetune"), (
        "it needs nothing that its trials do not know of"
    )
    for package in ("graft", "tasks"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignore, dirs_exist_ok=True)
    for file in ("code.yaml", "dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / file, tmp_path)
    _run(tmp_path, "tasks.stage.code")
    found, before = (yaml.safe_load(text) for text in ((tmp_path / "code.yaml").read_text(), current(ROOT)))
    assert found["strategies"].pop("norm_tune")
    assert found == before

    (tmp_path / "params.yaml").write_text(_params_with(ENTRY))
    with Repo.init(str(tmp_path), no_scm=True) as repo:
        assert "finetune@norm_tune-10-2" in [stage.name for stage in repo.index.stages]


def test_its_trial_is_compared_with_the_others_as_params_yaml_asks(
    norm_tune: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny").mkdir()
    tiny = make_project(tmp_path / "tiny", steps={"scratch": 1}, seeds=[0])
    asked = yaml.safe_load((tiny / "params.yaml").read_text())
    asked["strategies"] |= yaml.safe_load(ENTRY)
    asked["finetune"] = {"training": {"steps": 60}}
    (tiny / "params.yaml").write_text(yaml.safe_dump(asked))
    monkeypatch.chdir(tiny)
    finetune(Entry("norm_tune", 4, 0))
    evaluate(read_section(tiny / "params.yaml", "evaluate", EvaluateSettings))
    trial = json.loads((tiny / "build/trials/norm_tune-4-0/metrics.json").read_text())
    found = json.loads((tiny / "reports/metrics.json").read_text())
    page = (tiny / "reports/index.html").read_text(encoding="utf-8").replace("<wbr>", "")
    assert trial["knobs"] == {"norm_rate": 0.5}
    assert found["candidate"]["strategy"] == "norm_tune"
    assert re.search(r'<th scope="row">.*norm_tune', page)
    assert re.search(r"<h1>.*norm_tune", page)


def _params_with(entry: str) -> str:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert "  scratch: {}\n" in text
    return text.replace("  scratch: {}\n", f"  scratch: {{}}\n{entry}")


def test_every_example_of_weights_and_sources_is_valid(tmp_path: Path) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    text = (ROOT / "docs/how-to/your-weights.md").read_text(encoding="utf-8")
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    sections = [block for block in blocks if "backbone" not in block]
    for block in sections:
        merged = {key: {**params[key], **value} if isinstance(value, dict) else value for key, value in block.items()}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump({**params, **merged}))
        check_parameters(tmp_path)
    assert len(sections) >= 6
    for block in blocks:
        if "backbone" in block:
            parse(block, Stated, where="the description")
    for line in re.findall(r"^\$ \.venv/bin/graft (\w+)", text, re.MULTILINE):
        _run(ROOT, "flows.cli", line, "--help")


def _run(folder: Path, module: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_chinese_readme_has_the_commands_and_figures_of_the_english_one() -> None:
    english, chinese = (_code_and_figures((ROOT / name).read_text(encoding="utf-8")) for name in READMES)
    assert chinese == english
    assert all(english)


def test_the_readme_is_short_and_links_to_the_other() -> None:
    english, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in READMES)
    assert len(english.splitlines()) <= 150
    assert "](README.zh-CN.md)" in english
    assert "](README.md)" in chinese
    for term in ("迁移学习", "微调", "线性探测", "领域自适应", "负迁移", "源域", "目标域", "骨干网络", "标注预算"):
        assert term in chinese


def _code_and_figures(text: str) -> tuple[list[str], list[str], list[str], list[str]]:
    """The blocks of code in their order, and sorted: code in the text, links, and numbers of the rest."""
    blocks = re.findall(r"^```.*?^```$", text, re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    inline, links = re.findall(r"`([^`]+)`", rest), re.findall(r"\]\((?!README)([^)]+)\)", rest)
    figures = re.findall(r"\d(?:[\d.,]*\d)?", re.sub(r"`[^`]+`|\]\([^)]+\)", "", rest))
    return blocks, sorted(" ".join(code.split()) for code in inline), sorted(links), sorted(figures)

"""What the documentation shows works as it stands there."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tasks.checks.parameters import check_parameters
from tasks.settings.yaml_sections import parse
from tasks.source_models.from_file import Stated
from tests.tasks.support.evaluation_fixture import make_project

ROOT = Path(__file__).parents[2]
READMES = ("README.md", "README.zh-CN.md")


def test_the_worked_example_of_a_strategy_keeps_the_contract_and_is_found(tmp_path: Path) -> None:
    for folder in ("flows", "graft", "tasks", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("code.yaml", "dvc.yaml", "params.yaml", "pyproject.toml"):
        shutil.copy(ROOT / file, tmp_path)
    text = (ROOT / "docs/how-to/new-strategy.md").read_text(encoding="utf-8")
    place, code = re.search(r"Take `(\S+)`:\n\n```python\n(.*?)```", text, re.DOTALL).groups()
    (tmp_path / place).write_text(code, encoding="utf-8")
    _run(tmp_path, "tasks.stage.code")
    name = Path(place).stem

    said = _run(tmp_path, "flows.cli", "strategies", name)
    assert "norm_rate" in said
    assert "shared architecture" in said.lower()
    said = _run(tmp_path, "pytest", "-p", "no:cacheprovider", "tests/graft/strategies/test_contract.py", "-k", name)
    assert int(re.search(r"(\d+) passed", said)[1]) > 5
    assert "failed" not in said
    _run(
        tmp_path,
        "pytest",
        "-p",
        "no:cacheprovider",
        "tests/flows/views/test_strategies.py",
        "tests/house/test_graph.py",
    )

    entry = re.search(r"^  norm_tune: .*\n", text, re.MULTILINE)[0]
    params = (tmp_path / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(params.replace("  scratch: {}\n", f"  scratch: {{}}\n{entry}"))
    _run(tmp_path, "dvc", "init", "--no-scm", "-q")
    stages = _run(tmp_path, "dvc", "stage", "list", "--name-only").split()
    assert f"finetune@{name}-10-2" in stages

    (tmp_path / "tiny").mkdir()
    tiny = make_project(tmp_path / "tiny", steps={"scratch": 1}, seeds=[0])
    asked = yaml.safe_load((tiny / "params.yaml").read_text())
    asked["strategies"] |= yaml.safe_load(entry)
    asked["finetune"]["training"] = {"steps": 60}
    (tiny / "params.yaml").write_text(yaml.safe_dump(asked))
    _run(tiny, "tasks.finetune", "--strategy", name, "--labels", "4", "--seed", "0", code=tmp_path)
    _run(tiny, "tasks.evaluate", code=tmp_path)
    found = json.loads((tiny / "reports/metrics.json").read_text())
    page = (tiny / "reports/index.html").read_text(encoding="utf-8").replace("<wbr>", "")
    assert found["candidate"]["strategy"] == name
    assert re.search(rf'<th scope="row">.*{name}', page)
    assert re.search(rf"<h1>.*{name}", page)


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


def _run(folder: Path, module: str, *arguments: str, code: Path | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(code or folder)},
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

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


def test_the_worked_example_of_a_strategy_keeps_the_contract_and_is_found(tmp_path: Path) -> None:
    for folder in ("flows", "graft", "tasks", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("code.yaml", "dvc.yaml", "params.yaml", "pyproject.toml"):
        shutil.copy(ROOT / file, tmp_path)
    text = (ROOT / "docs/strategies.md").read_text(encoding="utf-8")
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
    text = (ROOT / "docs/bring-your-weights.md").read_text(encoding="utf-8")
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

"""Projects for benchmarks: fresh clones of this repository with other data and parameters, run as a user would."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
_TOOK = re.compile(r"✓ (\S+): done, ([\d.]+) s")


def clone(folder: Path) -> Path:
    """A fresh clone of the last commit, without data, caches or state."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    return folder


def set_parameters(project: Path, **sections: Any) -> None:
    """Change a project's params.yaml: lists of trials are replaced, settings merged key by key."""
    path = project / "params.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, values in sections.items():
        replaced = name in ("strategies", "label_free") or not isinstance(values, dict)
        content[name] = values if replaced else content[name] | values
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def graft(project: Path, *arguments: str) -> str:
    """The output of a `graft` command; an error ends the benchmark."""
    return run(project, sys.executable, "-m", "flows.cli", *arguments)


def run(project: Path, *command: str) -> str:
    """The output of a command, run in a project with this environment's Python first on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment |= {"PATH": path, "COLUMNS": "200"}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed in {project}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def stage_seconds(output: str) -> dict[str, float]:
    """Seconds that each stage took, from the output of `graft run`."""
    return {name: float(seconds) for name, seconds in _TOOK.findall(output)}

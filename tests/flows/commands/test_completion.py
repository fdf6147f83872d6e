"""Completion of commands with Tab."""

import os
import subprocess
import sys

from tests.house.imports import ROOT

GRAFT = f"{sys.executable} -c 'from flows.cli import app; app(prog_name=\"graft\")'"


def bash(command: str, **variables: str) -> str:
    """What a command prints in bash, which the completion recognises as its parent."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{command}; exit $?"], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_script_for_bash_is_shown() -> None:
    shown = bash(f"{GRAFT} --show-completion")
    assert "complete -o default -F" in shown
    assert "graft" in shown


def test_commands_and_choices_are_completed() -> None:
    asked = {"_GRAFT_COMPLETE": "complete_bash", "COMP_CWORD": "1"}
    assert bash(GRAFT, COMP_WORDS="graft st", **asked).split() == ["status", "strategies"]
    asked["COMP_CWORD"] = "3"
    assert bash(GRAFT, COMP_WORDS="graft run --if-busy ", **asked).split() == ["wait", "skip", "fail"]
    asked["COMP_CWORD"] = "3"
    assert bash(GRAFT, COMP_WORDS="graft data add so", **asked).split() == ["source"]


def test_it_is_installed_for_the_user(tmp_path) -> None:
    said = bash(f"{GRAFT} --install-completion", HOME=str(tmp_path))
    assert "completion installed" in said
    assert "graft" in (tmp_path / ".bashrc").read_text()

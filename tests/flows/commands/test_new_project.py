"""`graft init` asks on a terminal, takes flags anywhere, and says what to type next."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flows.commands.new_project import Flags, _cron, _setting, next_steps, settle
from tasks.common.errors import GraftError
from tests.house.imports import ROOT

ENVIRONMENT = os.environ | {"COLUMNS": "120", "TERM": "dumb", "PYTHONPATH": str(ROOT)}
COMMAND = [sys.executable, "-m", "flows.cli", "init", "mine"]


def on_terminal(folder: Path, typed: str, *flags: str) -> str:
    """What is shown on a terminal where `typed` was typed ahead."""
    ours, theirs = pty.openpty()
    os.write(ours, typed.encode())
    done = subprocess.Popen([*COMMAND, *flags], cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env=ENVIRONMENT)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # Linux says so of a terminal that nobody holds any more
        pass
    os.close(ours)
    assert done.wait(timeout=60) == 0, shown.decode()
    return shown.decode()


def test_it_asks_on_a_terminal_what_no_flag_says_and_asks_again_for_what_cannot_be(tmp_path: Path) -> None:
    typed = "\n".join(["", "none", "", "wide", "40", "1", "no", "5", "0,1", "fine_tune", "none", "no"]) + "\n"
    shown = on_terminal(tmp_path, typed)
    assert "'wide' is not a whole number" in shown
    assert "cd mine" in shown
    params = yaml.safe_load((tmp_path / "mine/params.yaml").read_text())
    assert (params["prepare"]["image_size"], params["prepare"]["channels"]) == (40, 1)
    assert (params["label_budgets"], params["seeds"]) == ([5], [0, 1])
    assert yaml.safe_load((tmp_path / "mine/prefect.yaml").read_text())["deployments"][0]["schedules"] == []
    assert not (tmp_path / "mine/.git").exists()


def test_yes_asks_nothing_on_a_terminal_and_nobody_is_asked_elsewhere(tmp_path: Path) -> None:
    assert "Size of the images" not in on_terminal(tmp_path, "", "--yes", "--no-git")
    command = [*COMMAND[:-1], "two"]
    said = subprocess.check_output(command, cwd=tmp_path, stdin=subprocess.DEVNULL, env=ENVIRONMENT, text=True)
    assert "graft data add source PATH" in said
    one, two = (yaml.safe_load((tmp_path / name / "params.yaml").read_text()) for name in ("mine", "two"))
    assert one == two


@pytest.mark.parametrize(
    ("backbone", "weights", "size"),
    [
        ("convnet_small", None, 32),
        ("transformer_tiny", None, 32),
        ("torchvision:resnet18", None, 224),
        (None, "weights/mine.pth", 224),
    ],
)
def test_the_size_of_the_pictures_fits_the_network(backbone: str | None, weights: str | None, size: int) -> None:
    unsaid = dict.fromkeys(Flags.__dataclass_fields__) | {"settings": [], "presets": ()}
    given = Flags(**unsaid | {"backbone": backbone, "weights": weights})  # type: ignore[arg-type]
    assert settle(Path("mine"), given, ask=False)[0].image_size == size


def test_settings_and_schedules_are_read_or_refused() -> None:
    assert _setting("a.b={c: 1}") == (("a", "b"), {"c": 1})
    for wrong in ("a.b", "=1", "a..b=1", "a={"):
        with pytest.raises(GraftError, match="--set"):
            _setting(wrong)
    assert (_cron("none"), _cron("15 3 * * *")) == ("", "15 3 * * *")
    with pytest.raises(GraftError, match="not a valid cron line"):
        _cron("every night")


def test_the_next_steps_fit_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a b").mkdir()
    assert next_steps(Path("a b"))[0] == "cd 'a b'"
    assert next_steps(tmp_path)[0] == "graft data add source PATH"
    (tmp_path / "params.yaml").write_text("prepare: {source: none}")
    assert next_steps(tmp_path)[0] == "graft data add target PATH"
    (tmp_path / "data").mkdir()
    assert next_steps(tmp_path) == ["graft data check", "graft run --update-data"]


def test_a_preset_states_its_cost_and_two_are_one_too_many(tmp_path: Path) -> None:
    command = [*COMMAND, "--yes", "--no-git", "--strategies", "linear_probe", "--image-size", "16"]
    shown = subprocess.run(
        [*command, "--quick"], cwd=tmp_path, env=ENVIRONMENT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    assert "quick: 6 trials with 9 trainings of a backbone, which take about" in " ".join(shown.split())
    assert yaml.safe_load((tmp_path / "mine/params.yaml").read_text())["seeds"] == [0]
    empty = tmp_path / "empty"
    empty.mkdir()
    both = subprocess.run([*command, "--quick", "--best"], cwd=empty, env=ENVIRONMENT, stderr=subprocess.PIPE)
    assert both.returncode == 2
    assert b"--quick and --best: choose one of them" in both.stderr
    assert not (empty / "mine").exists()

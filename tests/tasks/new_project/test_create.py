"""`graft init` writes a project that can be used, or nothing."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.common.errors import GraftError
from tasks.common.yaml_files import read_yaml
from tasks.new_project.answers import STRATEGIES, Answers, is_large, parameter_edits, reasons, usual_strategies
from tasks.new_project.create import create
from tasks.new_project.edit_yaml import with_values
from tasks.new_project.templates import IGNORED, extended
from tests.house.imports import ROOT

SHIPPED = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("params.yaml", "mlflow.yaml", "prefect.yaml")}
VALUES = st.one_of(
    st.integers(), st.sampled_from(["on", "no", "010", "0o17", "1e3", "1:30", "<<", "2026-11-30"]),
    st.text("ab: #'\"{}[],-\n", max_size=8), st.booleans(), st.none(), st.floats(0.001, 1),
    st.lists(st.integers(0, 9), max_size=3), st.dictionaries(st.sampled_from("abc"), st.integers(0, 9), max_size=3),
)  # fmt: skip


def paths(content: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a file."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [*([path] if path else []), *(found for key, value in inner for found in paths(value, (*path, key)))]


def put(content: Any, path: tuple[str | int, ...], value: Any) -> Any:
    for part in path[:-1]:
        content = content[part]
    content[path[-1]] = value


def lines_outside(text: str, path: tuple[str | int, ...]) -> str:
    """The lines of a file in which a value does not stand."""
    node = yaml.compose(text)
    for part in path:
        node = node.value[part] if isinstance(part, int) else {key.value: entry for key, entry in node.value}[part]
    first, last, lines = node.start_mark.line, node.end_mark.line, text.splitlines()
    while last > first and not lines[last - 1].partition("#")[0].strip():
        last -= 1  # PyYAML counts the comments behind a block to it
    return "\n".join([*lines[:first], *lines[max(last, first + 1) :]])


@settings(deadline=None, max_examples=40)
@given(data=st.data(), name=st.sampled_from(sorted(SHIPPED)), value=VALUES)
def test_a_value_is_changed_wherever_it_stands_and_nothing_else(data: st.DataObject, name: str, value: Any) -> None:
    text, read = SHIPPED[name], yaml.safe_load if name == "prefect.yaml" else read_yaml  # as who uses the file reads it
    content = read(text)
    path = data.draw(st.sampled_from(paths(content)))
    changed = with_values(text, [(path, value)])
    put(content, path, value)
    assert read(changed) == content
    comments = re.findall(r"# .*", lines_outside(text, path))
    assert comments == [comment for comment in re.findall(r"# .*", changed) if comment in comments]


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_a_file_without_edits_stays_as_it_is(name: str) -> None:
    assert with_values(SHIPPED[name], []) == SHIPPED[name]


def test_comments_stay_and_a_key_that_is_not_there_is_put_in() -> None:
    text = "# top\na:\n  # of b\n  b: 1 # one\n  c: {d: 2}\n\n# of e\ne: 3\n"
    assert with_values(text, [(("a", "b"), "x: y")]) == text.replace("1 # one", "'x: y' # one")
    assert yaml.safe_load(with_values("a: [1, 2]\n", [(("a", 0), "-]")])) == {"a": ["-]", 2]}
    assert with_values(text, [(("a", "new"), [1])]) == text.replace("  b: 1", "  new: [1]\n  b: 1")
    assert with_values(text, [(("a",), 5)]) == "# top\n# of b\na: 5\n\n# of e\ne: 3\n"
    with pytest.raises(KeyError):
        with_values(text, [(("nowhere", "b"), 1)])


def test_reasons_stand_behind_their_values() -> None:
    text = "a:\n  b: 1\n  c: {d: 2}\n\n# of e\ne: 3\n"
    found = with_values(text, [(("a", "b"), 7)], [(("a", "b"), "because"), (("a", "c"), "so")])
    assert found == "a:\n  b: 7 # because\n  c: {d: 2} # so\n\n# of e\ne: 3\n"


def test_a_setting_of_the_user_gets_no_reason_of_ours() -> None:
    key = ("finetune", "training", "batch_size")
    photos = Answers("a", weights="timm:x")
    assert key in dict(reasons(photos))
    assert key not in dict(reasons(replace(photos, settings=((key, 64),))))
    assert not dict(reasons(Answers("a")))


def test_the_answers_are_in_the_files(tmp_path: Path) -> None:
    answers = Answers(
        "ants", image_size=48, channels=1, flip=False, labels=(5, 20), seeds=(3, 4), strategies=("lora", "mcc"),
        schedule="30 4 * * 1", settings=((("prepare", "on_error"), "skip"),),
    )  # fmt: skip
    create(tmp_path / "ants", answers, git=False)
    params, mlflow, prefect = (yaml.safe_load((tmp_path / "ants" / name).read_text()) for name in SHIPPED)
    assert (params["prepare"]["image_size"], params["prepare"]["channels"], params["prepare"]["on_error"]) == (
        48, 1, "skip",
    )  # fmt: skip
    assert (params["label_budgets"], params["seeds"]) == ([5, 20], [3, 4])
    assert params["strategies"] == {"scratch": {}, "lora": {}}
    assert params["label_free"] == {"mcc": {}}
    assert "flip" not in params["finetune"]["training"]["augmentation"]
    assert (mlflow["tracking"]["experiment"], mlflow["registry"]["model"]) == ("ants", "ants")
    assert prefect["deployments"][0]["schedules"] == [{"cron": "30 4 * * 1", "timezone": "UTC"}]


def test_weights_are_written_where_they_are_given() -> None:
    keys = [(("pretrain", "weights"), "timm:x") in parameter_edits(Answers("a", weights=one)) for one in ("timm:x", "")]
    assert keys == [True, False]


def test_texts_begin_with_the_budget_of_a_small_network_and_no_augmentation_of_pictures(tmp_path: Path) -> None:
    create(tmp_path, Answers("texts", backbone="text_bag"), git=False)
    found, shipped = (yaml.safe_load((root / "params.yaml").read_text()) for root in (tmp_path, ROOT))
    for section in ("pretrain", "finetune"):
        assert found[section]["training"] == shipped[section]["training"] | {"augmentation": {}}


@pytest.mark.parametrize("weights", ["minilm", "wordllama", "hf:mine"])
def test_encoders_of_texts_are_no_networks_for_photos(weights: str, tmp_path: Path) -> None:
    create(tmp_path, Answers("texts", weights=weights), git=False)
    found = yaml.safe_load((tmp_path / "params.yaml").read_text())
    assert (found["pretrain"]["weights"], found["pretrain"]["learn"]) == (weights, "head")
    assert found["finetune"]["training"]["augmentation"] == {}
    assert found["finetune"]["training"]["learning_rate"] < 0.001
    assert not is_large("convnet_small", weights)


def test_what_is_compared_unless_the_user_says_otherwise_depends_on_what_is_read() -> None:
    for backbone, weights in (("text_bag", ""), ("convnet_small", "minilm")):
        assert "tfidf" in usual_strategies(backbone, weights)
    for backbone, weights in (("convnet_small", ""), ("text_bag", "timm:x"), ("transformer_tiny", "")):
        assert usual_strategies(backbone, weights) == STRATEGIES


def test_large_networks_get_a_budget_for_photos(tmp_path: Path) -> None:
    create(tmp_path, Answers("photos", backbone="torchvision:resnet18", image_size=224), git=False)
    training = yaml.safe_load((tmp_path / "params.yaml").read_text())["finetune"]["training"]
    assert training["batch_size"] == 16  # below 32, batch norm keeps its statistics (`batch_norm: auto`)
    assert training["augmentation"] == {"area": 0.35, "flip": 0.5}


def test_small_transformers_get_a_budget_for_small_pictures_and_learn_in_smaller_steps(tmp_path: Path) -> None:
    create(tmp_path, Answers("digits", backbone="transformer_tiny", channels=1, flip=False), git=False)
    params = yaml.safe_load((tmp_path / "params.yaml").read_text())
    shipped = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, rate in (("pretrain", 0.002), ("finetune", 0.001)):
        training = params[section]["training"]
        assert training["learning_rate"] == rate
        assert training["steps"] == shipped[section]["training"]["steps"]
        assert params[section].get("threads") == (2 if section == "pretrain" else 1)
        assert training["augmentation"] == {"crop": 2, "scale": 0.1}


def test_every_fault_of_the_answers_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    answers = Answers("a", image_size=4, strategies=("fine_tun",), labels=(), settings=((("tune", "trails"), 3),))
    with pytest.raises(GraftError) as caught:
        create(tmp_path / "new", answers, git=True)
    said = "\n".join(caught.value.problems)
    assert all(word in said for word in ("prepare.image_size", "did you mean 'fine_tune'", "label_budgets", "trails"))
    assert not (tmp_path / "new").exists()


def test_what_is_there_is_not_replaced_or_hidden(tmp_path: Path) -> None:
    for name in ("params.yaml", "tasks/mine.py", "build/x", "graft.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(GraftError) as caught:
        create(tmp_path, Answers("a"), git=True)
    said = "\n".join(caught.value.problems)
    assert all(name in said for name in ("params.yaml", "build", "graft.py", "tasks, which"))
    assert sorted(tmp_path.rglob("*")) == before


def test_an_existing_repository_keeps_its_files_and_its_ignores(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / ".gitignore").write_text("*.log\n/build\n")
    made = create(tmp_path / "transfer", Answers("a"), git=True)
    assert not made.made_repository, "it lies in one"
    made = create(tmp_path, Answers("a"), git=True)
    assert made.extended == (".gitignore",)
    lines = (tmp_path / ".gitignore").read_text().splitlines()
    assert lines[:2] == ["*.log", "/build"]
    assert sorted(set(IGNORED) - set(lines)) == []
    assert lines.count("/build") == 1
    assert "no_scm" not in (tmp_path / ".dvc/config").read_text()


def test_a_folder_that_becomes_no_repository_can_be_used_by_dvc(tmp_path: Path) -> None:
    create(tmp_path, Answers("a"), git=False)
    assert re.search(r"\[core\][^[]*no_scm = true", (tmp_path / ".dvc/config").read_text())
    assert not (tmp_path / ".git").exists()


def test_a_failure_takes_back_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".gitignore").write_text("*.log\n")
    monkeypatch.setenv("PATH", str(tmp_path))  # no git there
    with pytest.raises(GraftError, match="git is not installed"):
        create(tmp_path, Answers("a"), git=True)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [".gitignore"]
    assert (tmp_path / ".gitignore").read_text() == "*.log\n"


@given(text=st.text("ab/\n# ", max_size=20))
def test_an_ignore_file_has_each_line_once_and_keeps_its_own(text: str) -> None:
    once = extended(text, IGNORED)
    assert extended(once, IGNORED) == once
    assert set(IGNORED) <= set(once.splitlines())
    assert once.startswith(text.rstrip())

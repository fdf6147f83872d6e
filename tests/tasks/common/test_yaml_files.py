"""The project's YAML files are read as DVC reads them, and whatever stands in them is read or refused in words."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize import parse_yaml
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.errors import GraftError
from tasks.common.yaml_files import MOST_VALUES, load_yaml, read_strict_yaml, read_yaml, yaml_text
from tests.house.imports import ROOT

SCALARS = {
    "010": 10, "08": 8, "0o17": 15, "0x1F": 31, "0b11": 3, "1_000": 1000, "+1": 1, "-0": 0, "190:20:30": "190:20:30",
    "1e-3": 0.001, "3E4": 30000.0, ".5": 0.5, "1.": 1.0, ".inf": math.inf,
    "on": "on", "off": "off", "yes": "yes", "no": "no", "y": "y", "true": True, "False": False,
    "~": None, "null": None, "": None,
}  # fmt: skip
PLAIN = st.sampled_from(
    [*SCALARS, "2026-11-30", "2026-13-45", "2026-11-30T01:02:03Z", ".5e3", "+_", "<<", "=", "!!int ''"]
)
RAW = PLAIN | st.text("0123456789+-._eExXobyYnN:~TtFf!&*", max_size=8) | st.text(max_size=6)
NESTED = st.recursive(
    RAW, lambda inner: st.lists(inner, max_size=3).map(lambda entries: f"[{', '.join(entries)}]")
    | st.lists(inner, max_size=3).map(lambda entries: f"{{{', '.join(f'k{n}: {e}' for n, e in enumerate(entries))}}}"),
    max_leaves=5,
)  # fmt: skip
KEYS = st.text("ab-0:e", min_size=1, max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.sampled_from([*SCALARS, "2026-11-30"])
    | st.text(st.characters(exclude_categories=["C"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def outcome(read: Callable[[], Any]) -> str:
    """The value, NaN and the kinds of numbers included, or that there is none."""
    try:
        return repr(read())
    except Exception:
        return "refused"


@pytest.mark.parametrize(("text", "value"), SCALARS.items())
def test_a_scalar_is_what_dvc_takes_it_for(text: str, value: object) -> None:
    assert repr(read_strict_yaml(f"a: {text}")) == repr({"a": value}) == repr(parse_yaml(f"a: {text}", "p"))
    assert repr(read_strict_yaml(f"a:\n- 0\n- {text}\n")) == repr({"a": [0, value]})


@given(NESTED)
def test_any_document_is_read_as_dvc_reads_it(value: str) -> None:
    text = f"a: {value}\nb:\n- {value}\nc: &c {{x: {value}}}\nd: {{<<: *c, y: 1}}\n"
    for document in (text, f"a: {value}"):
        assert outcome(lambda text=document: read_yaml(text) or {}) == outcome(
            lambda text=document: parse_yaml(text, "p")
        )


@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=4))
def test_what_is_written_is_what_is_read(content: dict[str, Any]) -> None:
    text = yaml_text(content)
    assert repr(read_strict_yaml(text)) == repr(parse_yaml(text, "p")) == repr(content)


@pytest.mark.parametrize("name", ["params.yaml", "mlflow.yaml", "dvc.yaml", "dvc.lock", "data.dvc", "code.yaml"])
def test_the_projects_own_files_are_read_as_dvc_reads_them(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert repr(read_yaml(text)) == repr(parse_yaml(text, name))


def test_merge_keys_are_filled_in_as_dvc_fills_them_in() -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {<<: *a, x: 2}\nc:\n  <<: [*b, {z: 3}]\n  y: 4\n"
    assert read_strict_yaml(text) == parse_yaml(text, "p")
    assert read_strict_yaml(text)["c"] == {"x": 2, "y": 4, "z": 3}


BOMB = "a0: &a0 {x: 1}\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", "line 2, column 1: not valid YAML: key 'a' is given twice"),
        ("b: &b {x: 1}\na: {<<: *b, y: 2, y: 3}\n", "line 2, column 19: not valid YAML: key 'y' is given twice"),
        ("a: {<<: {b: 1}, <<: {c: 1}}\n", "line 1, column 17: not valid YAML: key '<<' is given twice"),
        ("a: {<<: 1}\n", "line 1, column 9: not valid YAML: expected a mapping or list of mappings for merging"),
        ("a:\n  1: b\n", "line 2, column 3: not valid YAML: key 1 is no text"),
        ("? [1]\n: b\n", r"key \[1\] is no text"),
        ("a:\n  - [1\n", r"line 3, column 1: .*expected ',' or ']'.*, while parsing a flow sequence .* in line 2$"),
        ("- a\n", "expected a mapping of sections, found list"),
        ("", "expected a mapping of sections, found NoneType"),
        ("a: !!python/object:os.system {}\n", "not valid YAML"),
        ("a: !!int ''\n", "not valid YAML"),
        ("a: !!bool x\n", "not valid YAML"),
        ("a: !!omap [b: 1, b: 2]\n", "not valid YAML"),
        ("a: 2026-13-01\n", "not valid YAML: month must be in"),
        ('a: "\\0b"\n', r"'\\x00b' holds a null byte"),
        ('a: {"\\0b": 1}\n', r"'\\x00b' holds a null byte"),
        (f"a: {'[' * 200_000}", "nested too deeply"),
        (f"a: {'{a: ' * 200_000}", "nested too deeply"),
        (f"a:\n {'- ' * 200_000}", "nested too deeply"),
        (f"a: {[0] * MOST_VALUES}", "more than 10,000 values"),
        ("a: &a [*a]", "more than 10,000 values"),
        (BOMB, "more than 10,000 values"),
        (BOMB.replace("[", "{<<: [").replace("]", "]}"), "more than 10,000 values"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(GraftError, match=message) as caught:
        load_yaml(path)
    assert str(caught.value).startswith("params.yaml: "), "the same prefix everywhere, and no folder"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(GraftError, match="there is no such file"):
        load_yaml(tmp_path / "params.yaml")


@given(st.text("ab01: -[]{}!&*<,'\"\n#?|>%~=\\", max_size=40) | st.binary(max_size=20))
def test_whatever_stands_in_a_file_is_read_or_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, content: str | bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / "params.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    try:
        assert isinstance(load_yaml(path), dict)
    except GraftError as error:
        assert str(error).startswith("params.yaml: ")

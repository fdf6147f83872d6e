"""The data card says what the data is and what a run will make of it, and draws real images."""

import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from flows.views.data_card import PIXELS, data_card, half_blocks, show
from tasks.data_versions.add import Card
from tasks.datasets.check import examine
from tasks.datasets.preview import look
from tasks.settings.prepare import PrepareSettings
from tests.tasks.support.raw_data import good_project, pictures, save_pictures


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return good_project(tmp_path)


def card_of(root: Path, **settings: object) -> Card:
    asked = PrepareSettings(**({"image_size": 8} | settings))  # type: ignore[arg-type]
    return Card(asked, look(examine(root, asked), asked), [])


def printed(card: Card, width: int = 80, colours: str | None = None, *, drawn: bool = False) -> str:
    console = Console(file=StringIO(), width=width, color_system=colours, force_terminal=bool(colours))
    console.print(data_card(card, width, pictures=drawn))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_letter_shows_two_pixels_one_above_the_other() -> None:
    pixels = np.array([[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]], dtype=np.uint8)
    console = Console(file=StringIO(), width=10, color_system="truecolor", force_terminal=True)
    console.print(half_blocks(pixels), end="")
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert re.findall(r"\[38;2;(\S+?);48;2;(\S+?)m▀", said) == [("1;2;3", "7;8;9"), ("4;5;6", "10;11;12")]


def test_every_class_stands_with_its_counts_and_whose_it_is(root: Path) -> None:
    save_pictures(root / "data/target", {"train/three": pictures(2, seed=8), "test/three": pictures(1, seed=9)})
    lines = [" ".join(line.split()) for line in printed(card_of(root)).splitlines()]
    assert "holds 20 images 18 images 9 images" in lines
    assert "layout npz folders folders" in lines
    assert any(line.startswith("three – 2 ━") and line.endswith("target's") for line in lines)
    assert any(line.startswith("one 10 ━━━━━━━━━━ 8 ━━━━━━━━━━ 4 ━━━━━━━━━━ shared") for line in lines)
    assert any(line.startswith("zero") and line.endswith("source's") for line in lines)
    assert any("1 shared, 1 of the source alone, 2 of the target alone" in line for line in lines)
    assert all(len(line) <= 80 for line in lines)


def test_it_says_what_is_lost_and_what_is_missing(root: Path) -> None:
    coloured = pictures(24, seed=4).repeat(3).reshape(24, 8, 8, 3)
    coloured[..., 0] = 7
    save_pictures(root / "data/wide", {"one": coloured[:12, :, :4], "two": coloured[12:, :, :4]})
    card = card_of(root, target="data/wide")
    said = " ".join(printed(card).split())
    assert "those that are not square are stretched" in said
    assert "colour is lost: 3 would keep it" in said
    assert "8 images of data/wide, held out here" in said
    alone = replace(card, parts={"source": card.parts["source"]}, short_of_labels=["class 'one' has 2 labels"])
    said = " ".join(printed(alone).split())
    assert "The target is not there yet: graft data add target PATH" in said
    assert "a run would refuse it: class 'one' has 2 labels" in said


def test_pictures_are_drawn_where_the_terminal_has_colours_and_written_beside_in_any_case(root: Path) -> None:
    drawn = printed(card_of(root), colours="truecolor", drawn=True)
    rows = [line for line in drawn.splitlines() if "▀" in line]
    assert len(rows) == 2 * 2 * PIXELS // 2, "of both parts that are learned from, two classes each"
    console = Console(file=StringIO(), width=80)
    show(root, card_of(root), console)
    assert "▀" not in console.file.getvalue()  # type: ignore[attr-defined]
    assert sorted(path.name for path in (root / ".graft/cards").iterdir()) == ["pool.png", "source.png", "test.png"]


def test_many_classes_are_counted_and_not_all_listed(root: Path) -> None:
    save_pictures(root / "data/many", {f"c{number:03}": pictures(3, seed=number) for number in range(60)})
    said = printed(card_of(root, source="data/many"), drawn=True)
    assert "… and 32 more" in said
    assert "… and 54 more in the PNG file" in said

"""The data card in the terminal: what the data is, some of its images, and what a run will make of it."""

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console, Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from tasks.data_versions.add import Card
from tasks.datasets.preview import PartLook, PictureLook, TextLook, save_sheets
from tasks.settings.prepare import NO_SOURCE, PrepareSettings

TITLES = {"source": "source", "pool": "target: pool", "test": "target: test"}
MOST_CLASSES = 30
"""Classes that are listed; the rest are counted."""
SHEET_CLASSES = 6
"""Classes whose images are drawn."""
PIXELS = 16
"""Width and height of an image in the terminal; a letter shows two pixels, one above the other."""
_BAR = 10


def show(root: Path, card: Card, console: Console) -> None:
    """Print the card; the contact sheets of images are also written as PNG files."""
    sheets = save_sheets(root, card.parts)
    console.print(data_card(card, console.width, pictures=console.color_system in ("truecolor", "256")))
    if sheets:
        paths = ", ".join(str(path.relative_to(root)) for path in sheets)
        console.print(f"\nContact sheets: {paths}", highlight=False, soft_wrap=True)


def data_card(card: Card, width: int, *, pictures: bool) -> RenderableType:
    """The whole card; with `pictures` they are drawn in the terminal's colours."""
    parts: list[RenderableType] = [Text(), _numbers(card.parts)]
    for name, part in card.parts.items():
        if name != "test" and isinstance(part.content, TextLook):
            parts += _examples(name, part, part.content)
        elif name != "test" and isinstance(part.content, PictureLook) and pictures:
            parts += _sheet(name, part, part.content, width)
    lines = [Text(f"  {line}") for line in meaning(card)]
    return Group(*parts, Text("\nWhat a run will make of it", "bold"), *lines)


def meaning(card: Card) -> Iterator[str]:
    """What a run will do with the data, a line a fact."""
    settings, parts = card.settings, card.parts
    if pictures := [part.content for part in parts.values() if isinstance(part.content, PictureLook)]:
        colour = any(content.has_colour for content in pictures)
        yield f"Size: every image is resized to {settings.image_size}×{settings.image_size}{_stretched(pictures)}."
        yield f"Channels: {_channels(settings, colour=colour)}."
    if len(pictures) < len(parts):
        yield f"Tokens: {_tokens(settings)}; a text is cut after {settings.text_length} (prepare.text_length)."
    wanted = [("target", "pool")] if settings.source == NO_SOURCE else [("source", "source"), ("target", "pool")]
    if missing := [role for role, name in wanted if name not in parts]:
        yield f"The {missing[0]} is not there yet: graft data add {missing[0]} PATH"
    elif settings.source == NO_SOURCE:
        yield "Source: none but the weights that are given (prepare.source)."
    else:
        yield from _mapping(parts["source"].classes.keys(), parts["pool"].classes.keys())
    if "test" in parts:
        test = parts["test"]
        origin = "its own test split" if test.split == "given" else "held out here (prepare.test_fraction)"
        yield f"Test: {test.n:,} {_things(test)} of {test.path}, {origin}."
    if card.short_of_labels:
        yield "Labels: too few for params.yaml, so a run would refuse it:"
        yield from (f"  {line}" for line in card.short_of_labels)


def half_blocks(pixels: np.ndarray) -> Text:
    """An image (H, W, 3) of even height: a letter shows an upper pixel in its own colour, a lower one behind it."""
    text = Text(no_wrap=True)
    for row in range(0, len(pixels), 2):
        for upper, lower in zip(pixels[row], pixels[row + 1], strict=True):
            text.append("▀", Style(color=_colour(upper), bgcolor=_colour(lower)))
        text.append("\n")
    text.right_crop(1)
    return text


def _numbers(parts: dict[str, PartLook]) -> Table:
    """A column for each part: the facts, then how many images each class has, with bars that show the balance."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    for name in parts:
        table.add_column(TITLES[name], header_style="bold")
    if both := {"source", "pool"} <= parts.keys():
        table.add_column("")
    for fact, row in _facts(parts).items():
        table.add_row(Text(fact, "dim"), *row)
    table.add_row()
    classes = sorted({name for part in parts.values() for name in part.classes})
    for name in classes[:MOST_CLASSES]:
        counts = [_share(part, name) for part in parts.values()]
        table.add_row(Text(name, "bold"), *counts, *([_whose(parts, name)] if both else []))
    if len(classes) > MOST_CLASSES:
        table.add_row(Text(f"… and {len(classes) - MOST_CLASSES:,} more", "dim"))
    return table


def _facts(parts: dict[str, PartLook]) -> dict[str, list[str]]:
    each = list(parts.values())
    return {
        "folder": [part.path for part in each],
        "layout": [part.layout for part in each],
        "holds": [f"{part.n:,} {_things(part)}" for part in each],
        "size": [_sizes(part.content) for part in each],
        "colour": [_colours(part.content) for part in each],
        "duplicates": [f"{part.duplicates:,}" for part in each],
        "left out": [_left_out(part) for part in each],
    }


def _things(part: PartLook) -> str:
    return "texts" if isinstance(part.content, TextLook) else "images"


def _colours(content: PictureLook | TextLook) -> str:
    return "–" if isinstance(content, TextLook) else "yes" if content.has_colour else "no"


def _sizes(content: PictureLook | TextLook) -> str:
    if isinstance(content, TextLook):
        shortest, middle, longest = content.characters
        return f"{shortest:,} to {longest:,} characters, median {middle:,}"
    smallest, median, largest = (f"{width}×{height}" for width, height in content.sizes)
    return smallest if smallest == largest else f"{smallest} to {largest}, median {median}"


def _left_out(part: PartLook) -> str:
    found = [(part.ignored, "files" if part.ignored > 1 else "file"), (part.skipped, "unreadable")]
    return ", ".join(f"{count:,} {what}" for count, what in found if count) or "none"


def _share(part: PartLook, name: str) -> Text:
    count = part.classes.get(name)
    if count is None:
        return Text("–", "dim")
    filled = max(1, round(_BAR * count / max(part.classes.values())))
    return Text(f"{count:>6,} ").append("━" * filled, "green")


def _whose(parts: dict[str, PartLook], name: str) -> Text:
    in_source, in_target = (name in parts[part].classes for part in ("source", "pool"))
    if in_source and in_target:
        return Text("shared", "green")
    return Text("source's" if in_source else "target's", "yellow")


def _examples(name: str, part: PartLook, content: TextLook) -> Iterator[RenderableType]:
    yield Text(f"\n{TITLES[name]}", "bold")
    table = Table.grid(padding=(0, 2, 0, 0))
    for of_class in list(part.classes)[:SHEET_CLASSES]:
        for place, text in enumerate(content.examples[of_class]):
            table.add_row(Text("" if place else of_class[:20], "bold"), Text(text, overflow="ellipsis", no_wrap=True))
    yield table
    if len(part.classes) > SHEET_CLASSES:
        yield Text(f"… and {len(part.classes) - SHEET_CLASSES:,} more", "dim")


def _sheet(name: str, part: PartLook, content: PictureLook, width: int) -> Iterator[RenderableType]:
    yield Text(f"\n{TITLES[name]}", "bold")
    letters = max(len(each) for each in list(part.classes)[:SHEET_CLASSES])
    columns = max(1, (width - min(letters, 20) - 2) // (PIXELS + 1))
    table = Table.grid(padding=(0, 1, 0, 0))
    for label, of_class in enumerate(list(part.classes)[:SHEET_CLASSES]):
        members = np.flatnonzero(content.labels == label)[:columns]
        drawn = [half_blocks(_shrunk(content.pictures[place])) for place in members]
        table.add_row(Text(of_class[:20], "bold"), *drawn)
        table.add_row()
    yield table
    if len(part.classes) > SHEET_CLASSES:
        yield Text(f"… and {len(part.classes) - SHEET_CLASSES:,} more in the PNG file", "dim")


def _shrunk(pixels: np.ndarray) -> np.ndarray:
    """(C, H, W) uint8 as (PIXELS, PIXELS, 3)."""
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).convert("RGB")
    return np.asarray(image.resize((PIXELS, PIXELS), Image.Resampling.BOX))


def _colour(pixel: np.ndarray) -> str:
    return f"#{pixel[0]:02x}{pixel[1]:02x}{pixel[2]:02x}"


def _tokens(settings: PrepareSettings) -> str:
    if settings.text_tokens == "bytes":
        return "a byte each (prepare.text_tokens)"
    if settings.text_tokens == "words":
        return f"the {settings.text_vocabulary:,} most frequent words of the training texts (prepare.text_tokens)"
    return f"a byte-level BPE of at most {settings.text_vocabulary:,}, learned from the training texts"


def _stretched(pictures: Collection[PictureLook]) -> str:
    square = all(width == height for content in pictures for width, height in content.sizes)
    return "" if square else "; those that are not square are stretched"


def _channels(settings: PrepareSettings, *, colour: bool) -> str:
    if settings.channels == 1:
        return "grey (prepare.channels: 1)" + ("; colour is lost: 3 would keep it" if colour else "")
    return "colour (prepare.channels: 3)" + ("" if colour else "; the images are grey: 1 would do, and cost less")


def _mapping(of_source: Collection[str], of_target: Collection[str]) -> Iterator[str]:
    source, target = set(of_source), set(of_target)
    yield (
        f"Classes: {len(source & target):,} shared, {len(source - target):,} of the source alone,"
        f" {len(target - source):,} of the target alone; matched by name, and by prepare.class_map."
    )

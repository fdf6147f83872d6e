"""Draws the diagrams of `docs/` into `docs/images`: `python docs/draw_diagrams.py`.

The floors and rooms are read from the contracts in `pyproject.toml` and the first sentence of each room, so the picture
shows what `lint-imports` holds. A test draws all of them again and compares.
"""

import ast
import re
import textwrap
import tomllib
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs/images"
WIDTH = 960
STYLE = """
svg { font-family: system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; background: #ffffff; }
text { fill: #1c2b33; font-size: 12px; }
.name { font-weight: 600; font-size: 13px; }
.title { font-weight: 600; font-size: 15px; }
.note { fill: #51626c; font-size: 11px; }
.box { fill: #eef5f5; stroke: #4f8a8b; }
.end { fill: #f6f1e4; stroke: #a58a3c; }
.floor { fill: none; stroke: #9fb4bb; stroke-dasharray: 4 3; }
.arrow { fill: none; stroke: #51626c; stroke-width: 1.4; }
.head { fill: #51626c; }
.under { fill: #ffffff; }
@media (prefers-color-scheme: dark) {
svg { background: #1b2226; }
text { fill: #e3ecef; }
.note { fill: #a9bac1; }
.box { fill: #24383a; stroke: #6fb3b4; }
.end { fill: #3a3424; stroke: #c9ad5b; }
.floor { stroke: #5b6d74; }
.arrow { stroke: #a9bac1; }
.head { fill: #a9bac1; }
.under { fill: #1b2226; }
}
"""
Point = tuple[float, float]


@dataclass
class Drawing:
    """An SVG picture that grows downwards."""

    title: str
    parts: list[str] = field(default_factory=list)
    height: float = 0

    def box(self, x: float, y: float, width: float, height: float, *, kind: str = "box") -> None:
        """A rectangle with round corners."""
        self.parts.append(f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>')
        self.height = max(self.height, y + height + 16)

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> None:
        """A line of text."""
        self.parts.append(f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>')

    def arrow(self, points: list[Point]) -> None:
        """A line through the points, with a head at its end."""
        self.height = max(self.height, *(y + 12 for _, y in points))
        path = "M" + " L".join(f"{x:g} {y:g}" for x, y in points)
        self.parts.append(f'<path class="arrow" d="{path}" marker-end="url(#head)"/>')

    def label(self, x: float, y: float, lines: list[str]) -> None:
        """Words on an arrow, in the middle of it, which they hide."""
        width = max(map(len, lines)) * 5.7 + 6
        top = y - 7.5 * len(lines)
        self.parts.append(
            f'<rect class="under" x="{x - width / 2:g}" y="{top:g}" width="{width:g}" height="{15 * len(lines)}"/>'
        )
        for place, line in enumerate(lines):
            self.text(x, top + 11 + 14 * place, line, "note", "middle")

    def __str__(self) -> str:
        """The file."""
        head = '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height:g}" role="img">\n'
            f"<title>{escape(self.title)}</title>\n<style>{STYLE}</style>\n"
            f'<defs>{head}<path class="head" d="M0 0 L8 4 L0 8 z"/></marker></defs>\n'
            + "\n".join(self.parts)
            + "\n</svg>\n"
        )


def rooms() -> Drawing:
    """The floors, and in each the rooms from top to bottom; arrows of imports only point down."""
    drawing, y = Drawing("Floors and rooms of Graft: imports only point down"), 16.0
    for floor, layers in _layers().items():
        top, y = y, y + 26
        drawing.text(28, top + 20, f"{floor}/", "title")
        drawing.text(110, top + 20, _sentence(ROOT / floor / "__init__.py"), "note")
        for layer in layers:
            y = _row(drawing, y, floor, layer) + 8
        drawing.box(16, top, WIDTH - 32, y - top + 4, kind="floor")
        y += 20
    return drawing


def _layers() -> dict[str, list[list[str]]]:
    """The layers of each floor, from top to bottom, and the rooms or files of each."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    return {
        contract["containers"][0]: [re.split(r" [|:] ", layer) for layer in contract["layers"]]
        for contract in contracts
        if contract["type"] == "layers" and "containers" in contract
    }


def _row(drawing: Drawing, y: float, floor: str, names: list[str]) -> float:
    """The boxes of a layer side by side; where it ends."""
    width = (WIDTH - 56 - 8 * (len(names) - 1)) / len(names)
    said = [textwrap.wrap(_said(floor, name, len(names)), int((width - 16) / 6)) for name in names]
    height = 24 + 14 * max(map(len, said))
    for place, (name, lines) in enumerate(zip(names, said, strict=True)):
        x = 28 + place * (width + 8)
        drawing.box(x, y, width, height)
        drawing.text(x + 8, y + 16, name, "name")
        for number, line in enumerate(lines):
            drawing.text(x + 8, y + 32 + 14 * number, line, "note")
    return y + height


def _said(floor: str, name: str, neighbours: int) -> str:
    """What a room or file holds; of files in a crowded row, the stages, the name says enough."""
    file = ROOT / floor / name / "__init__.py"
    if neighbours > 4:
        return ""
    return _sentence(file if file.exists() else ROOT / floor / f"{name}.py")


def _sentence(file: Path) -> str:
    """The first sentence of a file, as far as a colon, without backticks."""
    text = " ".join((ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split())
    return re.split(r"(?<=\w[.;])\s|: (?=Prefect's own)", text.replace("`", ""))[0].rstrip(".;")


@dataclass(frozen=True)
class State:
    """A box of a state diagram: its place on a grid, its name, and what holds in it."""

    column: float
    row: float
    name: str
    lines: tuple[str, ...]
    is_end: bool = False


@dataclass(frozen=True)
class Move:
    """An arrow from a side of a box to a side of another (`right`, `bottom+30`), by way of some points.

    Its words stand in the middle of its longest part, or `at` a point.
    """

    start: str
    from_side: str
    end: str
    to_side: str
    words: tuple[str, ...] = ()
    via: tuple[Point, ...] = ()
    at: Point | None = None


BOX, STEP_X, STEP_Y = (180.0, 62.0), 248.0, 136.0
"""Size of a state's box, and from one to the next."""


def states(title: str, boxes: dict[str, State], moves: list[Move]) -> Drawing:
    """A state diagram."""
    drawing = Drawing(title)
    for move in moves:
        points = [_side(boxes[move.start], move.from_side), *move.via, _side(boxes[move.end], move.to_side)]
        drawing.arrow(points)
        longest = max(pairwise(points), key=lambda pair: _distance(*pair))
        if move.words:
            drawing.label(*(move.at or _middle(*longest)), [*move.words])
    for box in boxes.values():
        x, y = _corner(box)
        drawing.box(x, y, *BOX, kind="end" if box.is_end else "box")
        drawing.text(x + BOX[0] / 2, y + 20, box.name, "name", "middle")
        for number, line in enumerate(box.lines):
            drawing.text(x + BOX[0] / 2, y + 36 + 14 * number, line, "note", "middle")
    return drawing


def _corner(box: State) -> Point:
    return 18 + box.column * STEP_X, 18 + box.row * STEP_Y


def _side(box: State, side: str) -> Point:
    """A point on the edge of a box: the middle of a side, moved along it."""
    name, _, shift = side.partition("+")
    name, _, back = name.partition("-")
    by = float(shift or 0) - float(back or 0)
    (x, y), (width, height) = _corner(box), BOX
    along = {"left": (x, y + height / 2 + by), "right": (x + width, y + height / 2 + by)}
    return {**along, "top": (x + width / 2 + by, y), "bottom": (x + width / 2 + by, y + height)}[name]


def _middle(start: Point, end: Point) -> Point:
    return (start[0] + end[0]) / 2, (start[1] + end[1]) / 2


def _distance(start: Point, end: Point) -> float:
    return abs(start[0] - end[0]) + abs(start[1] - end[1])


def graph() -> Drawing:
    """What depends on what in `dvc.yaml`."""
    boxes = {
        "prepare": State(0, 0, "prepare", ("both domains, checked", "and packed, from data.dvc")),
        "weights": State(0, 1, "weights", ("what pretraining", "begins with")),
        "pretrain": State(1, 0, "pretrain", ("the network learns", "the source domain")),
        "source": State(1, 1, "source@NAME", ("a further source model,", "its weights or images")),
        "forecast": State(2, 0, "forecast", ("the domain gap; which", "source model to begin with")),
        "finetune": State(3, 0, "finetune, adapt", ("per strategy, budget, seed;", "adapt: without labels")),
        "from": State(3, 1, "finetune_from", ("the same from each", "further source model")),
        "evaluate": State(2, 1, "evaluate", ("the test split, verdicts,", "the report")),
        "register": State(2, 2, "register", ("in the flow, not the graph:", "MLflow and the gate"), True),
    }
    moves = [
        Move("prepare", "right", "pretrain", "left"),
        Move("prepare", "right+16", "source", "left"),
        Move("weights", "right-16", "pretrain", "left+16"),
        Move("pretrain", "right", "forecast", "left"),
        Move("source", "right-16", "forecast", "left+16"),
        Move("forecast", "right", "finetune", "left"),
        Move("source", "bottom", "from", "bottom", (), ((356, 250), (852, 250))),
        Move("finetune", "left+20", "evaluate", "right-16"),
        Move("from", "left", "evaluate", "right"),
        Move("evaluate", "bottom", "register", "top"),
    ]
    return states("The graph of the stages", boxes, moves)


def stage() -> Drawing:
    """What becomes of a stage in one run."""
    boxes = {
        "waits": State(0, 0, "waits", ("for the stages", "that it depends on")),
        "queued": State(1, 0, "queued", ("it changed; threads and", "a device are not free yet")),
        "running": State(2, 0, "running", ("files claimed in DVC's rwlock,", "command in a warm child")),
        "done": State(3, 0, "done", ("committed to the cache,", "entered in dvc.lock"), True),
        "skipped": State(0, 1, "skipped", ("up to date: the hashes are", "those in dvc.lock"), True),
        "not run": State(1, 1, "not run", ("nothing is recorded;", "the next run begins it"), True),
        "again": State(2, 1, "again", ("waits 1 s, then 4 s; or", "halves each batch at once")),
        "restored": State(3, 1, "restored", ("outputs come back from", "DVC's run cache"), True),
        "failed": State(1, 2, "failed", ("dvc.lock stays as it was;", "the last lines are shown"), True),
    }
    moves = [
        Move("waits", "right", "queued", "left", ("changed",)),
        Move("waits", "bottom", "skipped", "top", ("unchanged",)),
        Move("queued", "right", "running", "left", ("both free",)),
        Move("queued", "bottom", "not run", "top", ("another stage failed,", "or the run stops")),
        Move("running", "left+12", "not run", "right", ("stopped",), ((466, 61), (466, 185)), (466, 100)),
        Move("running", "right-8", "done", "left-8", ("exit 0",)),
        Move("running", "right+18", "restored", "left", ("result known",)),
        Move("running", "bottom-30", "again", "top-30", ("may pass",)),
        Move("again", "top+40", "running", "bottom+40", ("retry",)),
        Move(
            "running",
            "left+24",
            "failed",
            "right",
            ("permanent, or", "no attempt left"),
            ((492, 73), (492, 321)),
            (492, 256),
        ),
    ]
    return states("States of a stage in one run", boxes, moves)


def lease() -> Drawing:
    """Who holds a share of a GPU."""
    boxes = {
        "free": State(0, 0, "free", ("bytes of the device's file", "that nobody has locked")),
        "run": State(1.4, 0, "held by the run", ("SHARE × 100 bytes locked", "in /dev/shm/graft-devices")),
        "both": State(2.8, 0, "held by run and stage", ("the stage's process has", "the same descriptor")),
        "waits": State(0, 1, "a stage waits", ("asks every 0.25 s; later", "stages do not overtake it")),
        "left": State(2.8, 1, "held by what is left", ("processes that the stage", "started and that still run")),
    }
    moves = [
        Move("free", "right", "run", "left", ("leased",)),
        Move("run", "right", "both", "left", ("its process starts",)),
        Move("both", "bottom", "left", "top", ("stage ends; the run", "closes its descriptor")),
        Move(
            "left",
            "left",
            "free",
            "right+20",
            ("the last process ends, however: the system frees the lock",),
            ((230, 185), (230, 69)),
        ),
        Move("free", "bottom-40", "waits", "top-40", ("none free",)),
        Move("waits", "top+40", "free", "bottom+40", ("try again",)),
    ]
    return states("States of a lease: a share of a GPU", boxes, moves)


def turn() -> Drawing:
    """How runs of one repository take turns."""
    boxes = {
        "asks": State(0, 0, "asks for its turn", ("graft run, repro, sync,", "data add; the flow")),
        "holds": State(1.4, 0, "works", ("graft-run.lock is locked,", "graft-run.json says by whom")),
        "over": State(2.8, 0, "over", ("the lock is free: nothing", "to clean up after a crash"), True),
        "waits": State(0.7, 1, "waits", ("says once who works;", "asks every 0.5 s")),
        "skipped": State(0, 2, "left out", ("exit code 0; Prefect", "calls the run Skipped"), True),
        "failed": State(1.4, 2, "fails", ("exit code 1: running", "again may help"), True),
    }
    moves = [
        Move("asks", "right", "holds", "left", ("nobody works here",)),
        Move("holds", "right", "over", "left", ("it ends or is killed",)),
        Move("asks", "bottom+50", "waits", "top-50", ("busy: wait",)),
        Move("waits", "top+50", "holds", "bottom-50", ("the other is over",)),
        Move("asks", "bottom-50", "skipped", "top-50", ("busy: skip",)),
        Move("asks", "left+20", "failed", "bottom", ("busy: fail",), ((8, 69), (8, 376), (455, 376))),
    ]
    return states("States of a run's turn in a repository", boxes, moves)


def version() -> Drawing:
    """What becomes of a registered version."""
    boxes = {
        "candidate": State(0, 0, "candidate", ("the trial that validation", "chose, a run in MLflow")),
        "registered": State(1, 0, "registered", ("once per stage key and", "test set; before the gate")),
        "champion": State(2.6, 0, "champion", ("the version that", "users load")),
        "challenger": State(1, 1, "challenger", ("the reason is its", "tag graft.reason")),
        "previous": State(2.6, 1, "previous", ("the champion before", "the present one")),
        "plain": State(1.8, 2, "without an alias", ("kept, with its history", "graft.history.NNN")),
    }
    moves = [
        Move("candidate", "right", "registered", "left", ("register",)),
        Move("registered", "right", "champion", "left", ("the gate lets it pass",)),
        Move("registered", "bottom", "challenger", "top", ("refused",)),
        Move("challenger", "right-20", "champion", "left+22", ("passes later",)),
        Move("champion", "bottom+40", "previous", "top+40", ("another is", "promoted")),
        Move("previous", "top-40", "champion", "bottom-40", ("by hand",)),
        Move("previous", "left+10", "challenger", "right+10", ("is candidate again",)),
        Move("challenger", "bottom", "plain", "left", ("another is refused",), ()),
        Move("previous", "bottom", "plain", "right", ("another is replaced",), ()),
    ]
    return states("States of a registered version", boxes, moves)


def drawings() -> dict[str, str]:
    """The files, by name."""
    return {f"{draw.__name__}.svg": str(draw()) for draw in (rooms, graph, stage, lease, turn, version)}


if __name__ == "__main__":
    for file, content in drawings().items():
        (IMAGES / file).write_text(content, encoding="utf-8")

"""Stages in the terminal: what a run would do with each of them, and what has become of them."""

from collections import Counter
from collections.abc import Iterable, Sequence

from rich.text import Text

from tasks.executor.execute import Outcome
from tasks.executor.pipeline import StageStatus

STATES = {
    "up_to_date": ("– up to date", "dim"),
    "will_restore": ("↺ from the cache", "cyan"),
    "will_run": ("▶ to run", "bold yellow"),
    "waits": ("· may follow", "yellow"),
    "running": ("▶ runs now", "bold green"),
}
_TO_COME = {
    "running": "run by another process",
    "will_run": "to run",
    "will_restore": "to restore from the cache",
    "waits": "that may follow",
    "up_to_date": "up to date",
}
_DONE = {"ran": "run", "restored": "restored from the cache", "committed": "committed", "up_to_date": "up to date"}

Row = tuple[str, Text, str]
"""A name, its state, and why."""


def stages_view(found: Sequence[StageStatus], width: int, before: Iterable[Row] = (), *, idle: bool = True) -> Text:
    """A line for each stage, and for each group of those that are up to date; then a summary.

    Names are whole, reasons are cut at `width`. `before` are rows above the stages; `idle` is whether they, too, leave
    nothing to do.
    """
    rows = [*before]
    up_to_date = Counter(_group(stage) for stage in found if stage.state == "up_to_date")
    label, style = STATES["up_to_date"]
    for stage in found:
        if stage.state != "up_to_date":
            rows.append((stage.name, Text(*STATES[stage.state]), "; ".join(stage.reasons)))
        elif count := up_to_date.pop(_group(stage), 0):
            rows.append((_group(stage), Text(label if count == 1 else f"– {count} up to date", style), ""))
    if not rows:
        return Text("There are no stages.")
    names, states = (max(len(row[i]) for row in rows) for i in (0, 1))
    lines = []
    for name, state, reason in rows:
        state.align("left", states)
        why = Text(" ".join(reason.split()), "dim")
        why.truncate(max(20, width - names - states - 4), overflow="ellipsis")
        lines.append(Text.assemble(f"{name:{names}}  ", state, "  ", why))
        lines[-1].rstrip()
    nothing = idle and all(stage.state == "up_to_date" for stage in found)
    return Text("\n").join([*lines, Text("Nothing to do." if nothing else f"{to_come(found)}.")])


def to_come(found: Iterable[StageStatus]) -> str:
    """How many stages are in which state: 'Stages: 1 to run, 4 up to date'."""
    return _counted((stage.state for stage in found), _TO_COME)


def done(outcomes: Iterable[Outcome]) -> str:
    """What has become of how many stages."""
    return _counted((outcome.how for outcome in outcomes), _DONE)


def _counted(states: Iterable[str], words: dict[str, str]) -> str:
    counts = Counter(states)
    return "Stages: " + ", ".join(f"{counts[state]} {said}" for state, said in words.items() if counts[state])


def _group(stage: StageStatus) -> str:
    return stage.name.partition("@")[0]

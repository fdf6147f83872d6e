"""What the records say: every cell, who is first in it, and the means over cells.

Legend: M peers, S seeds, N test images.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.peers.ours import FAMILY, Registered, each_alone, registered
from benchmarks.peers.records import Record
from benchmarks.photos import in_percent
from graft.measures.comparison import gains_over
from graft.measures.findings import Interval
from graft.measures.lead_metric import ScoredPredictions, lead_metric
from graft.settings import Metric

ROW = "graft, registered"
ALONE = "graft, one seed's labels choose"


@dataclass(frozen=True)
class Judged:
    """A case with a label budget, all seeds."""

    case: str
    labels: int
    metric: Metric
    scores: dict[str, list[float]]
    """By peer, one per seed; those that all seeds have, with Graft's two rows."""
    seconds: dict[str, float]
    """CPU seconds, mean over seeds."""
    families: dict[str, str]
    registered: Registered | None
    ahead: Interval | None
    """How far Graft is ahead of the best peer, paired over seeds and test images."""
    left_out: dict[str, str]
    """Peers without a row, with the reason."""

    @property
    def peers(self) -> list[str]:
        """Those that are not Graft's, the best first."""
        found = [name for name in self.scores if self.families.get(name, FAMILY) != FAMILY]
        return sorted(found, key=lambda name: -fmean(self.scores[name]))

    @property
    def is_first(self) -> bool:
        """Whether the registered model is the best, alone or with others."""
        return self.ahead is None or self.ahead.mean >= 0

    @property
    def is_first_or_tied(self) -> bool:
        """Whether no peer is better by more than the interval."""
        return self.is_first or self.ahead is None or self.ahead.high is None or self.ahead.high >= 0

    @property
    def regret(self) -> float:
        """What the choice lost against the best strategy in hindsight."""
        found = self.registered
        return fmean(self.scores[found.best]) - fmean(self.scores[found.strategy]) if found else 0.0


def judged(records: list[Record]) -> list[Judged]:
    """All cells of which there are records."""
    groups: dict[tuple[str, int], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.case, record.labels].append(record)
    return [_judge(case, labels, group) for (case, labels), group in groups.items()]


def _judge(case: str, labels: int, records: list[Record]) -> Judged:
    applying = [record for record in records if record.said]
    truth = torch.tensor(records[0].truth)
    metric = lead_metric(None, truth.bincount().tolist())
    seeds = sorted({record.seed for record in applying})
    by_peer: dict[str, dict[int, Record]] = defaultdict(dict)
    for record in applying:
        by_peer[record.peer][record.seed] = record
    whole = {name: [found[seed] for seed in seeds] for name, found in by_peer.items() if len(found) == len(seeds)}
    said = {name: torch.tensor([record.said for record in found]) for name, found in whole.items()}
    contributions = {name: _contributions(found, truth, metric) for name, found in said.items()}  # (S, N) each
    scores = {name: found.mean(dim=1).tolist() for name, found in contributions.items()}
    families = {name: found[0].family for name, found in whole.items()}
    seconds = {name: fmean(record.seconds for record in found) for name, found in whole.items()}
    kept = [record for found in whole.values() for record in found]
    mine = registered(kept, metric, scores)
    ahead = None
    others = [name for name in scores if families[name] != FAMILY]
    if mine:
        scores[ROW], seconds[ROW] = scores[mine.strategy], mine.seconds
        alone = each_alone(kept, metric)
        scores[ALONE] = [scores[alone[seed]][place] for place, seed in enumerate(seeds)]
        if others:
            best = max(others, key=lambda name: fmean(scores[name]))
            pair = torch.stack([contributions[best], contributions[mine.strategy]])
            ahead = gains_over(pair, 0, confidence=0.95, resamples=10_000, seed=0)[1]
    left_out = {record.peer: record.why_not for record in records if not record.said}
    left_out |= dict.fromkeys(by_peer.keys() - whole.keys(), "some seeds are missing")
    return Judged(case, labels, metric, scores, seconds, families, mine, ahead, left_out)


def _contributions(said: torch.Tensor, truth: torch.Tensor, metric: Metric) -> torch.Tensor:
    """(S, N), whose mean over the images is the metric, of predictions (S, N)."""
    classes = int(max(truth.max(), said.max())) + 1
    return ScoredPredictions(said[None], truth, classes, metric).contributions()[0]


def show(cells: list[Judged], console: Console, *, markdown: bool) -> None:
    """Print a table per cell, one of who is first, and the means over cells."""
    for cell in cells:
        _print(_cell_table(cell), console, markdown=markdown)
        for name, reason in sorted(cell.left_out.items()):
            console.print(f"{name} is left out: {reason}", markup=False, highlight=False, soft_wrap=True)
    for table in (_summary(cells), *_means(cells)):
        _print(table, console, markdown=markdown)


def _print(table: Table, console: Console, *, markdown: bool) -> None:
    if markdown:
        console.print(as_markdown(table), markup=False, highlight=False, soft_wrap=True)
    else:
        console.print(table)


def as_markdown(table: Table) -> str:
    """The same table as markdown."""
    columns = [[column.header, *column.cells] for column in table.columns]
    rows = [f"| {' | '.join(map(str, row))} |" for row in zip(*columns, strict=True)]
    rule = "|".join("---:" if column.justify == "right" else "---" for column in table.columns)
    return "\n".join([f"\n**{table.title}**\n", rows[0], f"|{rule}|", *rows[1:]])


def _table(title: str, *headings: str, left: int = 1) -> Table:
    table = Table(title=title)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="left" if place < left else "right")
    return table


def _cell_table(cell: Judged) -> Table:
    seeds = len(next(iter(cell.scores.values()), []))
    what = cell.metric.replace("_", " ")
    title = f"{cell.case}, {cell.labels} paid labels per class, test {what} %, mean of {seeds} seeds"
    table = _table(title, "", "from", "score", "CPU s", left=2)
    for name in sorted(cell.scores, key=lambda name: -fmean(cell.scores[name])):
        chosen = f" ({cell.registered.strategy})" if cell.registered and name == ROW else ""
        seconds = f"{cell.seconds[name]:.1f}" if name in cell.seconds else ""
        table.add_row(f"{name}{chosen}", cell.families.get(name, FAMILY), in_percent(cell.scores[name]), seconds)
    return table


def _summary(cells: list[Judged]) -> Table:
    table = _table(
        "Who is first: what Graft registers against the best peer",
        "case", "labels", "best peer", "%", "Graft registers", "%",
        "ahead by", "", "best in hindsight", "regret", "CPU s",
    )  # fmt: skip
    for cell in cells:
        found = cell.registered
        if not found or not cell.peers:
            continue
        best, mine = cell.peers[0], cell.scores[ROW]
        verdict = "first" if cell.is_first else "tied" if cell.is_first_or_tied else "BEHIND"
        table.add_row(
            cell.case, str(cell.labels), best, in_percent(cell.scores[best]), found.strategy, in_percent(mine),
            _in_points(cell.ahead), verdict, found.best, f"{100 * cell.regret:.1f}", f"{found.seconds:.0f}",
        )  # fmt: skip
    return table


def _in_points(gain: Interval | None) -> str:
    if gain is None:
        return ""
    between = "" if gain.low is None or gain.high is None else f" [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
    return f"{100 * gain.mean:+.1f}{between}"


def _means(cells: list[Judged]) -> Iterator[Table]:
    """One table per set of cells that some peer has: the means of all peers that have every one of them."""
    sets = {frozenset((c.case, c.labels) for c in cells if name in c.scores) for c in cells for name in c.scores}
    for wanted in sorted(sets, key=lambda found: (-len(found), sorted(found))):
        if len(wanted) < 2:
            continue
        chosen = [cell for cell in cells if (cell.case, cell.labels) in wanted]
        names = set.intersection(*(set(cell.scores) for cell in chosen))
        means = {name: fmean(fmean(cell.scores[name]) for cell in chosen) for name in names}
        title = f"Mean over {len(chosen)} cells: {', '.join(sorted({cell.case for cell in chosen}))}"
        table = _table(title, "", "mean %", "worst %", "CPU s")
        for name in sorted(means, key=lambda name: -means[name]):
            worst = min(fmean(cell.scores[name]) for cell in chosen)
            took = [cell.seconds[name] for cell in chosen if name in cell.seconds]
            table.add_row(name, f"{100 * means[name]:.1f}", f"{100 * worst:.1f}", f"{fmean(took):.1f}" if took else "")
        yield table

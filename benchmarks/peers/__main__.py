"""Peers, measured by us: what else could a user do with the same weights, the same paid labels and the same minutes?

    python -m benchmarks.peers --data FOLDER --results FILE [--cases photo-art hymenoptera …] [--budgets 5 20]
        [--seeds 0 1 2] [--peers scikit-learn graft fastai …] [--strategies …] [--peers-env FOLDER] [--markdown]

Every peer gets the same weights, the paid labels that Graft draws (all of them, to learn from and to choose by), the
rest of the pool without labels, and the same test split. It keeps the settings that its own authors recommend, and a
search by cross-validation where it has one. `--peers` takes families (scikit-learn, graft, fastai, TLlib) and names of
single peers. Graft's own row is the model that it registers: the strategy that `choose_strategy` takes by the answers
out of fold, its test accuracy, and how far that is behind the best strategy in hindsight.

Each result is added to FILE at once, and what is there is not computed again: a run that was stopped goes on, and
`--peers none` only prints. Several files may be given; new results go to the first.

Expected: in every case and at each budget, what Graft registers is the best, or the interval of the paired difference
to the best peer includes zero.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.peers import fastai_peers, frozen, ours, tllib, words
from benchmarks.peers.cases import CASES, HELD_BACK, USUAL
from benchmarks.peers.cell import Cell, Peer
from benchmarks.peers.records import Held, Record, append, read_records
from benchmarks.peers.tables import judged, show
from graft.strategies import strategy_names
from tasks.new_project.answers import STRATEGIES

CONSOLE = Console(width=130)


def main() -> None:
    """Compute what is missing, print the tables, and exit with 1 if Graft is behind anywhere."""
    given = _arguments()
    torch.set_num_threads(1)
    for name in given.cases:
        _complete(name, given)
    wanted = [
        record
        for record in read_records(given.results)
        if record.case in given.cases and record.labels in given.budgets and record.seed in given.seeds
    ]
    cells = judged(wanted)
    show(cells, CONSOLE, markdown=given.markdown)
    sys.exit(0 if all(cell.is_first_or_tied for cell in cells) else 1)


def _arguments() -> argparse.Namespace:
    assert __doc__
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--results", type=Path, nargs="+", required=True, help="lines of JSON; new ones go to the first"
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=USUAL, help=f"default: all but {HELD_BACK}")
    parser.add_argument("--budgets", nargs="+", type=int, default=[5, 20], help="paid labels per class")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--peers", nargs="+", default=["scikit-learn", "graft"], help="families, or single names")
    parser.add_argument("--strategies", nargs="+", choices=strategy_names(), default=STRATEGIES, help="of Graft")
    parser.add_argument("--peers-env", type=Path, help="an environment with fastai; made there if there is none")
    parser.add_argument("--passes", type=float, default=tllib.PASSES, help="TLlib's images, as a multiple of Graft's")
    parser.add_argument("--markdown", action="store_true")
    return parser.parse_args()


def every(given: argparse.Namespace) -> list[Peer]:
    """All peers, of which `--peers` takes some."""
    return [
        *frozen.peers(),
        *words.peers(),
        *ours.peers(given.strategies),
        *fastai_peers.peers(given.peers_env),
        *tllib.peers(given.passes),
    ]


def _complete(name: str, given: argparse.Namespace) -> None:
    """Compute the records of a case that are missing; its data is only loaded if there are some."""
    known = {record.key for record in read_records(given.results)}
    asked = [peer for peer in every(given) if {peer.name, peer.family} & set(given.peers)]
    missing = [
        (labels, seed, peer)
        for labels in given.budgets
        for seed in given.seeds
        for peer in asked
        if (name, labels, seed, peer.name) not in known
    ]
    if not missing:
        return
    case = CASES[name](given.data)
    cell = None
    for labels, seed, peer in missing:
        if case.kind not in peer.kinds:
            continue
        if cell is None or (cell.labels, cell.seed) != (labels, seed):
            cell = Cell(case, labels, seed)
        record = solved(cell, peer)
        append(given.results[0], record)
        CONSOLE.print(f"{name}, {labels} labels, seed {seed}: {peer.name}: {_said(record)}", highlight=False)


def solved(cell: Cell, peer: Peer) -> Record:
    """One peer in one cell."""
    truth = cell.case.problem.test.labels.tolist()
    where = cell.case.name, cell.labels, cell.seed, peer.name, peer.family
    if peer.family == frozen.FAMILY and cell.case.kind != "texts":
        cell.case.encode()  # whoever comes first does not pay for all
    start = _cpu()
    try:
        answer = peer.solve(cell)
    except ValueError as error:
        return Record(*where, 0.0, truth, [], why_not=str(error))
    seconds = (_cpu() - start if answer.seconds is None else answer.seconds) + answer.added
    held = None if answer.out_of_fold is None else Held.of(answer.out_of_fold)
    return Record(*where, round(seconds, 2), truth, answer.said.tolist(), held, answer.cost)


def _cpu() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _said(record: Record) -> str:
    if not record.said:
        return f"does not apply: {record.why_not}"
    right = sum(said == truth for said, truth in zip(record.said, record.truth, strict=True))
    return f"{100 * right / len(record.truth):.1f} %, {record.seconds:.1f} s"


if __name__ == "__main__":
    main()

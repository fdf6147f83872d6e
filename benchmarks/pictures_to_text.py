"""Do images help with texts? A transformer that was trained on images is transferred to texts, with controls.

    python -m benchmarks.pictures_to_text --images FOLDER --texts FOLDER ... [--modes tuned norms aligned] [--seeds 5]

Each target and each mode of transfer is a project made by `graft init`, run once. The controls of `cross_modal` are
`scratch`, the same network from random weights, and a random body that is transferred in the same way: the gain of
`cross_modal` over the latter is due to the images. Gains have 95 % intervals over seeds and test texts.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.projects import graft
from tasks.results.metrics_file import Summary, read_summary
from tasks.results.words import SYMBOLS, gain_in_words, score_in_words

LABELS = ("20", "all")
SETTINGS = (
    "prepare.text_length=64",
    "finetune.training.steps=300",
)


def main() -> None:
    """Run all, and print one row per label budget."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="grey images: the source")
    parser.add_argument("--texts", type=Path, required=True, nargs="+", help="texts: one target per folder")
    parser.add_argument("--modes", nargs="+", default=["tuned", "norms", "aligned"])
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    table = Table(
        "texts", "mode", "labels", "metric", "cross_modal", "random body", "scratch", "gain over random", "over scratch"
    )
    console = Console(width=160)
    with tempfile.TemporaryDirectory() as name:
        for texts in given.texts:
            for mode in given.modes:
                found = _result(Path(name), given.images.resolve(), texts.resolve(), mode, given.seeds)
                for row in _rows(found):
                    table.add_row(texts.name, mode, *row)
                    console.print(texts.name, mode, *row, highlight=False)
    console.print(table)


def _result(folder: Path, pictures: Path, texts: Path, mode: str, seeds: int) -> Summary:
    """Make and run a project; returns its reports/metrics.json."""
    project = folder / f"{texts.name}-{mode}"
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    options = ["--backbone", "transformer_tiny", "--image-size", "16", "--channels", "1", "--no-flip"]
    trials = ["--labels", ",".join(LABELS), "--seeds", ",".join(map(str, range(seeds))), "--strategies", "cross_modal"]
    how = ["--set", f"strategies.cross_modal={{mode: {mode}}}"]
    graft(folder, "init", str(project), "--yes", "--schedule", "none", *options, *trials, *settings, *how)
    for domain, path in (("source", pictures), ("target", texts)):
        graft(project, "data", "add", domain, str(path))
    graft(project, "run")
    return read_summary(project)


def _rows(found: Summary) -> Iterator[tuple[str, ...]]:
    """Per label budget: labels, the metric, its means and the two gains."""
    metric = found.lead
    for labels, strategies in found.budgets().items():
        carried, scratch = strategies["cross_modal"], strategies["scratch"]
        control = found.companions["cross_modal"][labels]["random body"]
        assert control.gain_over_it
        assert control.verdict_over_it
        means = [score_in_words(of) for of in (carried.score(metric), control, scratch.score(metric))]
        gains = [
            f"{SYMBOLS[verdict]} {gain_in_words(gain)}"
            for gain, verdict in (
                (control.gain_over_it, control.verdict_over_it),
                (carried.gain_over_scratch, carried.verdict),
            )
        ]
        yield str(labels), metric, *means, *gains


if __name__ == "__main__":
    main()

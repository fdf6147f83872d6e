"""Few labelled texts: strategies on encoders, next to a linear model of n-grams, from one domain of texts to another.

    python -m benchmarks.texts --data FOLDER [--weights minilm wordllama none] [--seeds 3]

FOLDER holds `uci_sentences/{imdb,amazon,yelp}` and `sms_spam`. Each pair of domains and each encoder is a project made
by `graft init`, run once; `none` is a small network that learns the source from its first step. Exits with code 1 if
the mean of the best strategy is below `PROMISED`.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.projects import graft
from tasks.results.metrics_file import Summary, read_summary
from tasks.results.words import score_in_words

LABELS = ("20", "all")
PAIRS = {"yelp": "imdb", "imdb": "amazon", "amazon": "yelp", "sms_spam": "amazon"}
"""The source of each target."""
PROMISED = {("imdb", 20): 0.86, ("yelp", 20): 0.89, ("amazon", 20): 0.84, ("sms_spam", 20): 0.94}
"""The lead metric at 20 labels per class, of the best strategy on the best encoder."""


def main() -> None:
    """Run all, and print one row per strategy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", nargs="+", default=["minilm", "wordllama", "none"])
    parser.add_argument("--targets", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    console, table = Console(width=120), Table("target", "encoder", "strategy", *LABELS)
    best: dict[tuple[str, int], float] = {}
    with tempfile.TemporaryDirectory() as name:
        for target in given.targets:
            for weights in given.weights:
                found = result(Path(name), given.data.resolve(), target, weights, given.seeds)
                for row in rows(found):
                    table.add_row(target, weights, *row)
                    console.print(target, weights, *row, highlight=False)
                means = [one.score(found.lead).mean for one in found.budgets()[20].values()]
                best[target, 20] = max(best.get((target, 20), 0.0), *means)
    console.print(table)
    sys.exit(int(any(best.get(case, 1.0) < least for case, least in PROMISED.items())))


def result(folder: Path, data: Path, target: str, weights: str, seeds: int) -> Summary:
    """Make and run a project; returns its reports/metrics.json."""
    project = folder / f"{target}-{weights}"
    encoder = ["--weights", weights] if weights != "none" else ["--backbone", "text_bag"]
    trials = ["--labels", ",".join(LABELS), "--seeds", ",".join(map(str, range(seeds)))]
    graft(folder, "init", str(project), "--yes", "--schedule", "none", *encoder, *trials)
    for domain, name in (("source", PAIRS[target]), ("target", target)):
        path = data / name if name == "sms_spam" else data / "uci_sentences" / name
        graft(project, "data", "add", domain, str(path))
    graft(project, "run")
    return read_summary(project)


def rows(found: Summary) -> list[tuple[str, ...]]:
    """Per strategy its name and the mean of the lead metric at each label budget."""
    budgets = found.budgets()
    names = dict.fromkeys(name for budget in budgets.values() for name in budget)
    return [
        (
            name,
            *(score_in_words(budget[name].score(found.lead)) if name in budget else "" for budget in budgets.values()),
        )
        for name in names
    ]


if __name__ == "__main__":
    main()

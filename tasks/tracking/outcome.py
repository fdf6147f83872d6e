"""The result of a run, read from its stages' files; these are authoritative, and MLflow only mirrors them."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from graft.data.label_budget import by_size
from tasks.common.errors import GraftError
from tasks.common.places import CARD, FORECAST, LOCK, POOL, PRETRAINED, REPORT, SOURCES, TEST, TRIALS
from tasks.results.read import budgets, lead, read_summary
from tasks.stage.key import lock_entries, stage_keys
from tasks.trials.curves import read_curve
from tasks.trials.on_disk import SEED_METRICS
from tasks.trials.plan import Entry


@dataclass(frozen=True)
class Trained:
    """A network that a stage trained, with the files that the stage wrote next to it."""

    name: str
    key: str
    """The stage's key: a hash of its command, parameters and dependencies."""
    folder: Path
    metrics: dict[str, Any]
    description: dict[str, Any]
    curve: tuple[dict[str, float], ...]


@dataclass(frozen=True)
class Trial(Trained):
    """A trial: one strategy, one label budget, one seed."""

    test: dict[str, float]
    """Its metrics on the test split."""

    @property
    def strategy(self) -> str:
        """The strategy's name."""
        return str(self.metrics["strategy"])


@dataclass(frozen=True)
class Outcome:
    """The whole result of one run of the graph."""

    root: Path
    key: str
    """Key of the stage `evaluate`, which depends on all others: equal keys mean equal results."""
    report: dict[str, Any]
    metric: str
    """The lead metric of the comparison, in which gains and verdicts are given."""
    card: dict[str, Any]
    test_md5: str
    """Hash of the packed test split."""
    pool_md5: str
    """Hash of the target's packed label pool."""
    sources: tuple[Trained, ...]
    """The project's own source model, then the further ones, sorted by name."""
    trials: tuple[Trial, ...]

    @property
    def pretrained(self) -> Trained:
        """The project's own source model."""
        return self.sources[0]

    @property
    def data_md5(self) -> str:
        """DVC's hash of the raw data."""
        return str(self.card["data_md5"])

    @property
    def candidate(self) -> Trial:
        """The trial that validation chose."""
        return next(trial for trial in self.trials if trial.name == self.report["candidate"]["trial"])


def read_outcome(root: Path) -> Outcome:
    """Read the result in the project folder `root`.

    Raises:
        GraftError: some stages have not run, or one of their files cannot be read.
    """
    try:
        (root / REPORT).stat()
        report = read_summary(root)
        keys = stage_keys(root / LOCK)
        return Outcome(
            root=root,
            key=keys["evaluate"],
            report=report,
            metric=lead(report),
            card=_read_json(root / CARD),
            test_md5=_hash_in_lock(root / LOCK, TEST),
            pool_md5=_hash_in_lock(root / LOCK, POOL),
            sources=tuple(_read_sources(root, keys)),
            trials=tuple(_read_trials(root, report, keys)),
        )
    except OSError as error:
        raise GraftError(f"{error.filename}: {error.strerror}", "Run every stage first: `graft run`.") from None
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise GraftError(
            f"{root}: the results do not match {LOCK}: {error!r}", "Run `graft run` to make them again."
        ) from None


def _read_sources(root: Path, keys: dict[str, str]) -> Iterator[Trained]:
    """The source models that the forecast ranked, except those that no stage made."""
    yield Trained("pretrain", keys["pretrain"], *_read_network(root / PRETRAINED))
    for name in sorted(_read_json(root / FORECAST)["ranking"]):
        if key := keys.get(f"source@{name}"):
            yield Trained(f"source {name}", key, *_read_network(root / SOURCES / name))


def _read_trials(root: Path, report: dict[str, Any], keys: dict[str, str]) -> Iterator[Trial]:
    """The trials that the evaluation compared; one without labels is compared at every budget but listed once."""
    rows = [(name, row) for group in budgets(report).values() for name, row in group.items()]
    compared = {(name, row["labels_per_class"]): row for name, row in rows}
    for (strategy, labels), row in sorted(compared.items(), key=lambda item: (item[0][0], by_size(item[0][1]))):
        for index, seed in enumerate(report["budget"]["seeds"]):
            entry = Entry(strategy, labels, seed)
            values = {metric: row[metric]["seeds"][index] for metric in SEED_METRICS}
            test = {metric: float(value) for metric, value in values.items() if value is not None}
            yield Trial(entry.name, keys[entry.stage], *_read_network(root / TRIALS / entry.name), test)


def _read_network(folder: Path) -> tuple[Path, dict[str, Any], dict[str, Any], tuple[dict[str, float], ...]]:
    curve = tuple(asdict(point) for point in read_curve(folder / "curve.csv"))
    return folder, _read_json(folder / "metrics.json"), _read_json(folder / "model.json"), curve


def _read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _hash_in_lock(lock: Path, path: Path) -> str:
    """The hash of a stage's output in dvc.lock."""
    hashes = {out["path"]: out["md5"] for entry in lock_entries(lock).values() for out in entry.get("outs", [])}
    return str(hashes[str(path)])

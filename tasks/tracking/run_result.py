"""The result of a run, read from its stages' files; these are authoritative, and MLflow only mirrors them."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from graft.data.label_budget import by_size
from graft.settings import Metric
from tasks.common.errors import GraftError
from tasks.common.places import LOCK, POOL, PRETRAINED, REPORT, SOURCES, TEST, TRIALS
from tasks.datasets.card_file import DataCard, read_card
from tasks.results.forecast_file import read_forecast
from tasks.results.metrics_file import Summary, read_summary
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
class RecordedTrial(Trained):
    """A trial: one strategy, one label budget, one seed."""

    test: dict[str, float]
    """Its metrics on the test split."""

    @property
    def strategy(self) -> str:
        """The strategy's name."""
        return str(self.metrics["strategy"])


@dataclass(frozen=True)
class RunResult:
    """The whole result of one run of the graph."""

    root: Path
    key: str
    """Key of the stage `evaluate`, which depends on all others: equal keys mean equal results."""
    summary: Summary
    card: DataCard
    test_md5: str
    """Hash of the packed test split."""
    pool_md5: str
    """Hash of the target's packed label pool."""
    sources: tuple[Trained, ...]
    """The project's own source model, then the further ones, by name."""
    trials: tuple[RecordedTrial, ...]

    @property
    def metric(self) -> Metric:
        """The lead metric of the comparison, in which gains and verdicts are given."""
        return self.summary.lead

    @property
    def pretrained(self) -> Trained:
        """The project's own source model."""
        return self.sources[0]

    @property
    def data_md5(self) -> str:
        """DVC's hash of the raw data."""
        return self.card.data_md5

    @property
    def candidate(self) -> RecordedTrial:
        """The trial that cross-validation chose."""
        return next(trial for trial in self.trials if trial.name == self.summary.candidate.trial)


def read_run_result(root: Path) -> RunResult:
    """Read the result in the project folder `root`.

    Raises:
        GraftError: the stages have not all run, or a file of theirs cannot be read.
    """
    try:
        (root / REPORT).stat()
        summary = read_summary(root)
        keys = stage_keys(root / LOCK)
        return RunResult(
            root=root,
            key=keys["evaluate"],
            summary=summary,
            card=read_card(root),
            test_md5=_hash_in_lock(root / LOCK, TEST),
            pool_md5=_hash_in_lock(root / LOCK, POOL),
            sources=tuple(_read_sources(root, keys)),
            trials=tuple(_read_trials(root, summary, keys)),
        )
    except OSError as error:
        raise GraftError(f"{error.filename}: {error.strerror}", "Let every stage run first: `graft run`.") from None
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise GraftError(
            f"{root}: the results and {LOCK} do not fit together: {error!r}", "Run `graft run` to make them again."
        ) from None


def _read_sources(root: Path, keys: dict[str, str]) -> Iterator[Trained]:
    """The source models that the forecast ranked, except those that no stage made."""
    yield Trained("pretrain", keys["pretrain"], *_read_network(root / PRETRAINED))
    for name in sorted(read_forecast(root).ranking):
        if key := keys.get(f"source@{name}"):
            yield Trained(f"source {name}", key, *_read_network(root / SOURCES / name))


def _read_trials(root: Path, summary: Summary, keys: dict[str, str]) -> Iterator[RecordedTrial]:
    """The trials that the evaluation compared; one without labels is compared at every budget but listed once."""
    rows = [(name, row) for group in summary.budgets().values() for name, row in group.items()]
    compared = {(name, row.labels_per_class): row for name, row in rows}
    for (strategy, labels), row in sorted(compared.items(), key=lambda item: (item[0][0], by_size(item[0][1]))):
        for index, seed in enumerate(summary.budget.seeds):
            entry = Entry(strategy, labels, seed)
            test: dict[str, float] = {metric: row.score(metric).seeds[index] for metric in SEED_METRICS}
            network = _read_network(root / TRIALS / entry.name)
            yield RecordedTrial(entry.name, keys[entry.stage], *network, test)


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

"""Drift: the champion's score on new data, and the distance between the new target and the one it was trained on.

It is reported if the champion before this run was made from other data than this result: its score on the new test set,
compared with its score on its own and with the challenger's, and the domain gap between its label pool and the new one.
The old pool comes from DVC's cache; if `dvc gc` has removed it, the report says that the gap is unknown.
"""

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from graft.measures.findings import DomainGap
from tasks.common.errors import GraftError
from tasks.common.files import write_json
from tasks.common.places import POOL, STATE
from tasks.common.typed_json import typed
from tasks.data_versions.dvc_data import folder_from_cache
from tasks.registry.champion import scores_tag
from tasks.registry.gate import Standing
from tasks.results.forecast_words import gap_size, told_apart
from tasks.tracking.run_result import RunResult

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

DRIFT = STATE / "mlflow" / "drift.json"
DATA_MD5, TEST_MD5, POOL_MD5 = "dvc.data_md5", "graft.test_md5", "graft.pool_md5"
"""Tags of a version: the hashes of its raw data, of its test set and of its label pool."""

MOST = 2000
"""Images or texts per pool that are compared, at most."""


@dataclass(frozen=True)
class Drift:
    """A champion on new data."""

    champion: str
    """Its version."""
    metric: str
    """The metric of the scores: the gate's."""
    then: float | None
    """Its score on the test set of its own data; None if that was not recorded."""
    now: float | None
    """Its score on the new test set; None if it could not be scored there."""
    challenger: float
    """The candidate's, on the new test set."""
    gap: DomainGap | None = None
    """Between its label pool and the new one."""
    why_no_gap: str = ""

    def __str__(self) -> str:
        """Two sentences."""
        then, now = ("unknown" if score is None else f"{score:.4f}" for score in (self.then, self.now))
        scores = (
            f"New data: champion version {self.champion} has {self.metric} {now} on the new test set "
            f"(on its own: {then}), the challenger {self.challenger:.4f}."
        )
        if self.gap is None:
            return f"{scores} The gap between old and new target is not known: {self.why_no_gap}."
        told = told_apart(self.gap, "the old target", "the new one")
        return f"{scores} The gap between old and new target is {gap_size(self.gap)}: {told}."

    def points(self) -> dict[str, float]:
        """The scores and the gap under their names in MLflow."""
        found = {f"drift/champion_{self.metric}": self.now, f"drift/champion_{self.metric}_before": self.then}
        found |= {f"drift/challenger_{self.metric}": self.challenger}
        found |= {f"drift/gap_{name}": value for name, value in (asdict(self.gap) if self.gap else {}).items()}
        return {name: float(value) for name, value in found.items() if value is not None}


def find_drift(champion: "ModelVersion", result: RunResult, metric: str, score: Standing) -> Drift | None:
    """The drift, if the champion was made from other data than `result`; measured once per pair."""
    tags = champion.tags
    if tags.get(DATA_MD5) == result.data_md5:
        return None
    of = {"champion": str(champion.version), "key": result.key}
    if (found := _load(result.root, of)) is None:
        before = json.loads(tags.get(scores_tag(tags.get(TEST_MD5, "")), "{}"))
        gap, why = _gap(result, tags.get(POOL_MD5, ""))
        then, now = before.get(metric), score.score
        found = Drift(str(champion.version), metric, then, now, result.candidate.test[metric], gap, why)
        write_json(result.root / DRIFT, {"of": of, "drift": asdict(found)})
    return found


def _load(root: Path, of: dict[str, str]) -> Drift | None:
    """An earlier measurement for the same champion and result."""
    try:
        content = json.loads((root / DRIFT).read_text(encoding="utf-8"))
        return typed(content["drift"], Drift) if content["of"] == of else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _gap(result: RunResult, pool_md5: str) -> tuple[DomainGap | None, str]:
    """The domain gap between the champion's label pool and that of `result`; or None and the reason."""
    if not pool_md5:
        return None, "the champion's version does not record its label pool"
    import torch

    from graft.measures.domain_gap import domain_gap
    from graft.networks.network import predict
    from tasks.artifacts.networks import load_network
    from tasks.artifacts.packed import Packed
    from tasks.datasets.text.tokenizer import TOKENIZER

    network = load_network(result.pretrained.folder)
    try:
        with tempfile.TemporaryDirectory() as folder:
            folder_from_cache(result.root, pool_md5, Path(folder, "pool"))
            pools = [Packed.load(path) for path in (Path(folder, "pool"), result.root / POOL)]
            tokenizer, places = result.pretrained.folder / TOKENIZER, torch.arange(MOST)
            old, new = (
                predict(network, pool.read_by(network.description, tokenizer, places[: len(pool.split)]))[1]
                for pool in pools
            )
        return domain_gap(old, new), ""
    except (GraftError, OSError, ValueError) as error:
        return None, str(error).splitlines()[0]

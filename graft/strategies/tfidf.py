"""Texts alone: a linear model of words and characters in the place of a network."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, cast

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor, nn

from graft.contract import Strategy
from graft.data.inputs import BYTES, Text
from graft.data.on_disk import Images
from graft.data.sampling import folds
from graft.data.source_labels import of_shared_classes
from graft.data.split import Domains, Split
from graft.networks.network import Description, Network, at_a_time
from graft.networks.texts.ngrams import BUCKETS, NGRAMS, Counts, Ngrams, joined, ngrams
from graft.techniques.sparse_logistic import SparseRows, sparse_logistic_regressions

STRENGTHS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""Regularisation strengths, from strong to weak; between two of them little changes."""
WEIGHTS = (0.1, 0.3, 1.0)
"""Weights of a source text, relative to a labelled one of the target."""
FOLDS = 5
_ALONE = (0.3, 1e-3)
"""Weight and strength where there is nothing to choose by: one text per class."""
_ROUGHLY = 3e-5
"""Tolerance of the fits that choose; smaller ones take longer and choose the same."""
_MOST = 20_000
"""Most source texts that it learns from."""


@dataclass(frozen=True)
class Tfidf(Strategy):
    """Weigh a text's n-grams of words and characters by tf-idf, and fit a logistic regression to source and target.

    Minimises sum_i s_i CE(W v(x_i) + b, y_i) / sum_i s_i + strength / 2 |W|², where v(x) of length 1 holds (1 + log n)
    idf for each n-gram that occurs n times (Salton & Buckley 1988, 'Term-weighting approaches in automatic text
    retrieval'; n-grams of words: Wang & Manning 2012, 'Baselines and Bigrams'). s_i is 1 for a labelled text of the
    target and the same weight from 0 to 1 for each text of the source that has one of the target's classes; folds
    within the paid labels choose that weight and `strength`. How rare an n-gram is (idf) is counted in the pool and in
    the source. It begins with no network and serves one of its own, which reads bytes. It fails where word order or
    meaning decides, and on words that no labelled text has.
    """

    optimises: ClassVar[bool] = False

    use_source: bool = True
    """Whether it may learn from the source's texts too."""
    length: Annotated[int, Ge(8), Le(16384)] = 1024
    """Bytes of a text that are read; the rest is cut off."""

    @property
    def uses_source_data(self) -> bool:
        """The knob `use_source`."""
        return self.use_source

    @property
    def uses_unlabelled(self) -> bool:
        """Always: idf is counted in the pool."""
        return True

    @property
    def text_bytes(self) -> int:
        """The knob `length`."""
        return self.length

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """A new network of n-grams, whatever the source network is."""
        if not isinstance(source.description.reads, Text):
            raise ValueError(f"tfidf reads texts, not {source.description.reads}")
        body = f"{NGRAMS}{len(classes)}"
        network = Network(Description(body, classes, vocabulary=BYTES, length=self.length))
        nn.init.zeros_(cast(Ngrams, network.backbone).vectors.weight)
        nn.init.eye_(network.head.weight)
        nn.init.zeros_(network.head.bias)
        return network

    @torch.no_grad()
    def begin(self, network: Network, domains: Domains) -> None:
        """Count idf, choose the source's weight and the strength, and fit the regression."""
        assert domains.unlabelled is not None
        body, source = cast(Ngrams, network.backbone), _of_source(domains)
        body.idf.copy_(_idf(domains.unlabelled.images, source.images))
        texts = body.weighted(joined([_counted(domains.target.images), _counted(source.images)]))
        problem = _Problem(texts, torch.cat([domains.target.labels, source.labels]), len(network.description.classes))
        weight, strength = problem.choose(folds(domains.target, FOLDS), len(source))
        columns, vectors, bias = problem.fit(weight, strength, len(source))
        body.vectors.weight[columns] = vectors
        network.head.bias.copy_(bias)


class _Problem:
    """Labelled texts of the target, and then those of the source, as the rows of a sparse matrix (N, D)."""

    def __init__(self, texts: Counts, labels: Tensor, classes: int) -> None:
        self._columns, places = texts.buckets.unique(return_inverse=True)
        self._texts = SparseRows.of(texts.rows, places, texts.times, (texts.texts, len(self._columns)))
        self._labels, self._classes = labels, classes

    def choose(self, held: list[Tensor], of_source: int) -> tuple[float, float]:
        """The source's weight and the strength with the lowest loss on the folds, which hold out labelled texts of the
        target. A few of these say little, so the source is left out (weight 0) only if without it the loss is lower by
        more than its standard error."""
        if not held:
            return _ALONE
        alone = min(self._tried(held, 0.0, of_source), key=_mean)
        if not of_source:
            return alone[:2]
        helped = min((found for weight in WEIGHTS for found in self._tried(held, weight, of_source)), key=_mean)
        worse = helped[2] - alone[2]
        return alone[:2] if worse.mean() > worse.std() / len(worse) ** 0.5 else helped[:2]

    def _tried(self, held: list[Tensor], weight: float, of_source: int) -> Iterator[tuple[float, float, Tensor]]:
        """The weight, a strength and the losses (M,) of the M texts held out, for each strength from strong to weak,
        until their mean rises."""
        shares = self._shares(weight, of_source).repeat(len(held), 1)
        out = torch.zeros_like(shares, dtype=torch.bool)
        for fold, places in enumerate(held):
            out[fold, places.to(out.device)] = True
        fitted, lowest = None, torch.inf
        for strength in STRENGTHS:
            fitted = self._fitted(strength, shares.masked_fill(out, 0.0), fitted, _ROUGHLY)
            logits = self._texts.times(fitted[0].permute(2, 0, 1).flatten(1)).view(-1, *fitted[1].shape) + fitted[1]
            losses = F.cross_entropy(logits.permute(1, 2, 0), self._labels.expand(len(held), -1), reduction="none")[out]
            yield weight, strength, losses.double()
            if losses.mean() > lowest:
                return
            lowest = losses.mean().item()

    def fit(self, weight: float, strength: float, of_source: int) -> tuple[Tensor, Tensor, Tensor]:
        """The buckets that occur (D,), the vector of each (D, K), and the bias (K,), fitted to all texts."""
        vectors, bias = self._fitted(strength, self._shares(weight, of_source)[None])
        return self._columns, vectors[0].T, bias[0]

    def _shares(self, weight: float, of_source: int) -> Tensor:
        shares = torch.ones(len(self._labels), device=self._labels.device)
        shares[len(shares) - of_source :] = weight
        return shares

    def _fitted(
        self, strength: float, shares: Tensor, start: tuple[Tensor, Tensor] | None = None, tolerance: float = 1e-5
    ) -> tuple[Tensor, Tensor]:
        how = {"decay": strength, "tolerance": tolerance}
        return sparse_logistic_regressions(self._texts, self._labels, self._classes, shares=shares, start=start, **how)


def _mean(found: tuple[float, float, Tensor]) -> float:
    return found[2].mean().item()


def _of_source(domains: Domains) -> Split:
    """The source's texts that have one of the target's classes; there may be none."""
    found = of_shared_classes(domains.source, domains.target.classes, _MOST)
    return domains.target.take(torch.arange(0)) if found is None else found


def _counted(images: Images) -> Counts:
    """The n-grams of all texts."""
    return joined([ngrams(part) for part in images.split(at_a_time(images))])


def _idf(*domains: Images) -> Tensor:
    """(D,) log((1 + N) / (1 + n)) + 1 for an n-gram that n of all N texts have; 0 where n is 0."""
    texts = sum(images.shape[0] for images in domains)
    parts = (part for images in domains for part in images.split(at_a_time(images)))
    having = torch.zeros(BUCKETS, dtype=torch.double, device=domains[0].device)
    for part in parts:  # no more than counts are kept: a pool may be large
        having += torch.bincount(ngrams(part).buckets, minlength=BUCKETS)
    return torch.where(having > 0, ((1 + texts) / (1 + having)).log() + 1, having).float()

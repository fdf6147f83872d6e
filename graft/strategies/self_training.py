"""Few labels and an unlabelled pool: a probe on frozen features that also learns from its own balanced answers."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Literal, cast

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn

from graft.data.on_disk import in_memory
from graft.data.source_labels import of_shared_classes
from graft.data.split import Domains
from graft.networks.network import Frozen, Network
from graft.settings import Count, Searched
from graft.techniques.head_only import HeadOnly
from graft.techniques.logistic import logistic_regression
from graft.techniques.probe import MOST_SOURCE, best_choice
from graft.techniques.span import Span

_NAMES = {"alone": "without the pool", "estimated": "estimated shares"}
"""Of the choices."""
_BALANCING = 50
"""Steps of Sinkhorn's balancing; more change nothing."""


@dataclass(frozen=True)
class SelfTraining(HeadOnly):
    """Fit a linear head on frozen features to the labels, then in rounds also to its own answers for the pool.

    Minimises the weighted mean of CE(W f(x) + b, y) over labelled images, with weight 1, and over chosen unlabelled
    ones, with `weight`, + strength / 2 |W|². The y of an unlabelled image is the previous round's answer, balanced so
    that each class gets its share of the pool (Zou et al. 2018, 'Unsupervised Domain Adaptation for Semantic
    Segmentation via Class-Balanced Self-Training'; balanced as by Asano et al. 2020, 'Self-labelling via simultaneous
    clustering and representation learning'). Round r of R learns from the r / R surest of each class; `strength` is
    that of a probe on the labels alone. Source images of the target's classes help too (`joint_probe`). It fails
    where the features do not cluster by class, as the answers then repeat their mistakes, and with equal shares where
    classes are not equally frequent: the folds may choose estimated shares, or the head that did without the pool.
    """

    rounds: Count = 3
    """How often the head is fitted again."""
    weight: Annotated[float, Gt(0.0), Le(1.0), Searched(0.05, 1.0)] = 0.3
    """Weight of an unlabelled image, relative to a labelled one."""
    shares: Literal["auto", "equal", "estimated"] = "auto"
    """The share of each class in the pool: equal, or estimated from the answers (Saerens et al. 2002, 'Adjusting the
    Outputs of a Classifier to New a Priori Probabilities'); auto: equal, unless the folds prefer the estimate."""
    source: bool = True
    """Also learn from source images of the target's classes, if there are any, with the share that cross-validation
    prefers for a probe."""

    source_is_optional: ClassVar[bool] = True

    @property
    def uses_unlabelled(self) -> bool:
        """Always: the whole pool."""
        return True

    @property
    def uses_source_data(self) -> bool:
        """The knob `source`."""
        return self.source

    def begin(self, network: Network, domains: Domains) -> None:
        """Fit the head in rounds; it becomes the network's."""
        heads = self.heads(domains)
        for choice in self._choices():
            network.extras[choice] = Frozen(heads[choice])
        network.head.load_state_dict(heads["estimated" if self.shares == "estimated" else "equal"].state_dict())

    def choices(self, network: Network) -> dict[str, Callable[[], None]]:
        """The head that did without the pool, which can hurt, and with `auto` that of estimated shares."""
        return {_NAMES[choice]: partial(_replace_head, network, choice) for choice in self._choices()}

    def _choices(self) -> list[str]:
        return ["alone", *(["estimated"] if self.shares == "auto" else [])]

    @torch.no_grad()
    def heads(self, domains: Domains) -> dict[str, nn.Linear]:
        """The heads D -> K for domains of features (N, D): of the last round, by what it takes for shares; and `alone`,
        that of the labels without the pool."""
        assert domains.unlabelled is not None
        labelled, classes = domains.target, len(domains.target.classes)
        source = of_shared_classes(domains.source, labelled.classes, MOST_SOURCE)
        choice = best_choice(labelled, source)
        given = [labelled, source] if source and choice.source_share else [labelled]
        labels = torch.cat([part.labels for part in given])
        weights = torch.ones(len(labels), device=labels.device)
        if len(labels) > len(labelled):
            weights[len(labelled) :] = choice.weight(len(labelled), len(labels) - len(labelled))
        pool = in_memory(domains.unlabelled.images)
        span = Span(torch.cat([*(in_memory(part.images) for part in given), pool]))
        known, unknown = span.coordinates[: len(labels)], span.coordinates[len(labels) :]
        alone = logistic_regression(known, labels, classes, decay=choice.strength, weights=weights)
        found = {"alone": alone}
        for shares in ("equal", "estimated"):
            if self.shares in ("auto", shares):
                found[shares] = self._trained(alone, known, labels, weights, unknown, choice.strength, shares)
        return {name: span.on_features(head) for name, head in found.items()}

    def _trained(
        self,
        head: nn.Linear,
        known: Tensor,
        labels: Tensor,
        weights: Tensor,
        unknown: Tensor,
        strength: float,
        shares: str,
    ) -> nn.Linear:
        """The head of the last round, on coordinates of labelled images (N, R), with weights (N,), and of the pool."""
        for number in range(1, self.rounds + 1):
            probabilities = head(unknown).softmax(dim=1)
            equal = probabilities.new_full((probabilities.shape[1],), 1 / probabilities.shape[1])
            answers = balanced(probabilities, equal if shares == "equal" else estimated_shares(probabilities, equal))
            chosen = surest(answers, number / self.rounds)
            head = logistic_regression(
                torch.cat([known, unknown[chosen]]),
                torch.cat([labels, answers[chosen].argmax(dim=1)]),
                len(equal),
                decay=strength,
                weights=torch.cat([weights, weights.new_full((len(chosen),), self.weight)]),
                start=head,
            )
        return head


def _replace_head(network: Network, choice: str) -> None:
    """Give the network's head the weights of a head that is kept in its extras."""
    network.head.load_state_dict(cast(Frozen, network.extra(choice)).module.state_dict())


def balanced(probabilities: Tensor, shares: Tensor) -> Tensor:
    """Answers (N, K) nearest to probabilities (N, K) in which class k has the share `shares[k]` of all images: rows sum
    to 1 and columns to N shares (Sinkhorn & Knopp 1967)."""
    found = probabilities.double().clamp_min(1e-12)
    for _ in range(_BALANCING):
        found = found * (shares.double() * len(found) / found.sum(dim=0))
        found = found / found.sum(dim=1, keepdim=True)
    return found.to(probabilities.dtype)


def surest(answers: Tensor, share: float) -> Tensor:
    """The places of this share of the images that each class is the answer for, the surest first; (M,), ascending."""
    best, label = answers.max(dim=1)
    chosen = []
    for k in range(answers.shape[1]):
        members = (label == k).nonzero().flatten()
        count = math.ceil(len(members) * share - 1e-9)
        chosen.append(members[best[members].argsort(descending=True, stable=True)[:count]])
    return torch.cat(chosen).sort().values


def estimated_shares(probabilities: Tensor, prior: Tensor, steps: int = 100) -> Tensor:
    """The shares (K,) of the classes by expectation maximisation, from probabilities (N, K) of a model that was fitted
    to classes with the shares `prior` (K,)."""
    shares = prior.double()
    for _ in range(steps):
        weighed = probabilities.double() * (shares / prior.double())
        shares = (weighed / weighed.sum(dim=1, keepdim=True)).mean(dim=0)
    return shares.to(probabilities.dtype)

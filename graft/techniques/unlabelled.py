"""Base of the strategies for an unlabelled target: train on the source's labels, and align the domains."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor

from graft.contract import ParameterGroup, Step, Strategy
from graft.data.source_labels import SourceLabels
from graft.data.split import Domains
from graft.networks.batch_norm import statistics_kept
from graft.networks.heads import matched_head, require_known_classes
from graft.networks.network import Network
from graft.techniques.alignment.base import Alignment, Outputs
from graft.techniques.label_free import Rule, held_out, label_free_score


@dataclass(frozen=True)
class Unlabelled(Strategy):
    """Minimise the source's cross-entropy + `weight` * the alignment of source and target, without target labels.

    Closed-set: the head predicts the target's classes, all of which the source must have; source images of other
    classes are never drawn, because they have no counterpart to align with.
    """

    uses_labels: ClassVar[bool] = False
    moves_batch_norm: ClassVar[bool] = True

    weight: float = 1.0
    """Weight of the alignment loss."""
    selection: Rule = "guarded_snd"
    """How the weights are selected without labels (`graft.techniques.label_free`): by soft neighbourhood density, with
    a guard against collapse or without (snd), by entropy or DEV, or the last ones."""
    batch_norm: Literal["apart", "together"] = "apart"
    """Apart: each domain is normalised with its own statistics, and the network keeps the target's. Together: both are
    normalised with those of the mixture."""

    @property
    def uses_source_data(self) -> bool:
        """Always: it trains on the source's labels."""
        return True

    @property
    def label_free_selection(self) -> Rule:
        """The knob `selection`."""
        return self.selection

    def label_free_score(self, network: Network, domains: Domains) -> float | None:
        """The score of the rule `selection`."""
        return label_free_score(self.selection, network, domains)

    @property
    def alignment_rate(self) -> float:
        """Learning rate of the alignment's own parameters, relative to the network's."""
        return 1.0

    def alignment(self, feature_size: int, classes: int) -> Alignment:
        """The alignment, for a network with this many features and classes."""
        raise NotImplementedError

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network, with the rows of its head in the order of the target's classes."""
        require_known_classes(source, classes, f"{self.name} predicts with the source's head")
        source.extras["source_labels"] = SourceLabels(source.description.classes, classes)
        source.extras["alignment"] = self.alignment(source.feature_size, len(classes))
        matched_head(source, classes)
        return source

    def source_weights(self, network: Network, domains: Domains) -> Tensor | None:
        """0 for images of classes that the target lacks and for those that `dev` validates on."""
        assert domains.source is not None
        labels = domains.source.labels
        weights = cast(SourceLabels, network.extras["source_labels"]).weights(labels)
        if self.selection == "dev":
            weights = torch.ones(len(labels), device=labels.device) if weights is None else weights
            weights[held_out(len(weights)).to(weights.device)] = 0
        return weights

    def parameter_groups(self, network: Network) -> list[ParameterGroup]:
        """Backbone and head, and the alignment's own parameters at `alignment_rate`."""
        groups = [ParameterGroup([*network.backbone.parameters(), *network.head.parameters()])]
        if learned := list(network.extras.parameters()):
            groups.append(ParameterGroup(learned, self.alignment_rate))
        return groups

    def loss(self, network: Network, step: Step) -> Tensor:
        """The source's cross-entropy plus the weighted alignment."""
        source, target = self.outputs(network, step.source.images, step.target.images)
        labels = network.extras["source_labels"](step.source.labels)
        supervised = replace(step.source, labels=labels).cross_entropy(source.logits)
        aligned: Tensor = network.extras["alignment"](source, target, step.progress)
        return supervised + self.weight * aligned

    def outputs(self, network: Network, source: Tensor, target: Tensor) -> tuple[Outputs, Outputs]:
        """Features and logits of two batches of images.

        With `batch_norm` apart, the running statistics are the target's only, so that evaluation matches training. A
        mixture would fit neither domain.
        """
        if self.batch_norm == "together":
            features = network.features(torch.cat([source, target])).split([len(source), len(target)])
        else:
            with statistics_kept(network.backbone):
                of_source = network.features(source)
            features = of_source, network.features(target)
        found = [Outputs(values, network.head(values)) for values in features]
        return found[0], found[1]

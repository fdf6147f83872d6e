"""Feature level: some layers come from the source, the rest start from random weights."""

from dataclasses import dataclass, replace
from itertools import chain
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le

from graft.contract import Strategy
from graft.networks.layers import Kind, Layer, layers
from graft.networks.network import Network
from graft.networks.stages import keep_frozen_statistics, stages
from graft.settings import Searched


@dataclass(frozen=True)
class LayerTransfer(Strategy):
    """Take selected layers from the source, frozen or tuned, and start all others from random weights.

    A network 'AnB': of N stages, the first n = depth x N have the source's weights, the rest random ones (Yosinski et
    al. 2014, 'How transferable are features in deep neural networks?'); a sweep over n shows how transferable each
    stage is. Source-side augmentation (flip, crop, grey dilation) belongs to the pretraining that the layers come from:
    `flip`, `crop` and `morphology` of `pretrain.training.augmentation` in params.yaml. It fails when the cut separates
    co-adapted layers, or when more stages start from random weights than the labels can train.
    """

    depth: Annotated[float, Ge(0.0), Le(1.0), Searched(0.2, 1.0)] = 0.7
    """Share of the stages that are transferred, rounded to whole stages, at least one. 0 transfers nothing (`scratch`);
    1 with `tuned` transfers everything (`fine_tune`)."""
    which: Literal["first", "last"] = "first"
    """Transfer the stages closest to the input, or those closest to the head."""
    kinds: Literal["all", "convolutional", "linear", "embedding"] = "all"
    """Transfer only layers of this kind: convolutions, fully connected layers (including attention), or embeddings
    (class tokens, positions); each with its norms."""
    tuned: bool = True
    """Whether the transferred layers are trained; otherwise they are frozen, including batch-norm statistics."""
    sweep: bool = False
    """Also train, alongside this one, a network for each depth from no stage to all: reported, never selected."""

    def companions(self, source: Network) -> dict[str, Strategy]:
        """With `sweep`, this strategy at depth 0 and at every depth that has layers of the chosen kinds."""
        if not self.sweep:
            return {}
        count = len(stages(source.backbone))
        at = {depth: replace(self, depth=depth / count, sweep=False) for depth in range(count + 1)}
        return {f"depth {depth}": each for depth, each in at.items() if not depth or each._of_kind(source)[1]}

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """A new network with the source's weights in the chosen layers."""
        network = Network(source.description.with_classes(classes))
        for theirs, ours in zip(self._chosen(source), self._chosen(network), strict=True):
            _copy(theirs, ours)
            for parameter in ours.module.parameters(recurse=False):
                parameter.requires_grad_(self.tuned)
        return network

    def train_mode(self, network: Network) -> None:
        """Training mode; frozen layers keep the source's batch-norm statistics."""
        network.train()
        keep_frozen_statistics(network.backbone)

    def _chosen(self, network: Network) -> list[Layer]:
        """The layers to transfer.

        Raises:
            ValueError: the chosen stages have no layers of that kind; the message lists the kinds that they have.
        """
        near, chosen = self._of_kind(network)
        if near and not chosen:
            there: list[Kind] = sorted({layer.kind for layer in near})
            count = len({layer.stage for layer in near})
            raise ValueError(
                f"layer_transfer: the {self.which} {count} of {len(stages(network.backbone))} stages of "
                f"{network.description.backbone} have no {self.kinds} layers; they have: {', '.join(there)}"
            )
        return chosen

    def _of_kind(self, network: Network) -> tuple[list[Layer], list[Layer]]:
        """The layers of the chosen stages, and those of them that are of the chosen kinds."""
        count = len(stages(network.backbone))
        depth = max(1, round(self.depth * count)) if self.depth else 0
        wanted = range(depth) if self.which == "first" else range(count - depth, count)
        near = [layer for layer in layers(network.backbone) if layer.stage in wanted]
        return near, [layer for layer in near if self.kinds in ("all", layer.kind)]


@torch.no_grad()
def _copy(source: Layer, target: Layer) -> None:
    """Copy the layer's own weights and statistics."""
    for read, write in zip(_tensors(source), _tensors(target), strict=True):
        write.copy_(read)


def _tensors(layer: Layer) -> list[torch.Tensor]:
    return list(chain(layer.module.parameters(recurse=False), layer.module.buffers(recurse=False)))

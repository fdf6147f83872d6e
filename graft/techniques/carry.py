"""Carry a network over to another modality: the body stays, what reads is new."""

from graft.contract import Strategy
from graft.data.inputs import Input, Text
from graft.networks.network import Frozen, Network
from graft.networks.transformer import Transformer

ORIGIN = "origin"
"""Among the extras of a carried network: the source's network as it was, for a strategy that asks for it."""


def crosses(source: Input, target: Input) -> bool:
    """Whether what one network reads means nothing to the other: images and texts, or texts of two vocabularies."""
    if isinstance(source, Text) and isinstance(target, Text):
        return source.vocabulary != target.vocabulary
    return isinstance(source, Text) != isinstance(target, Text)


def require_source(strategy: Strategy, count: int) -> None:
    """Refuse a strategy that trains on source data where there is none.

    Raises:
        ValueError: says so.
    """
    if strategy.uses_source_data and not count:
        raise ValueError("it trains on source data too, and there is none (prepare.source: none)")


def carried(source: Network, read: Input, strategy: Strategy) -> Network:
    """`source`, able to read what the target is; itself where it is already, which it then is for every strategy.

    Otherwise blocks and norms of a transformer are kept, with the head, and the embedding starts again.

    Raises:
        ValueError: the strategy, or the body, cannot go from one modality to the other; says why.
    """
    found = source.description.reads
    if not crosses(found, read):
        return source
    where = f"the source network reads {found}, and the target is {read}"
    if not strategy.crosses_modalities and strategy.uses_source_data:
        raise ValueError(
            f"{strategy.name} trains on source data next to the target's, but {where}: no network reads both"
        )
    if not strategy.uses_labels:
        raise ValueError(f"{strategy.name} uses no label of the target, but {where}: only labels tell what one means")
    if not isinstance(source.backbone, Transformer):
        raise ValueError(
            f"{where}; the body of {source.description.backbone} cannot be carried over: "
            "take pretrain.backbone transformer_tiny or transformer_small"
        )
    network = Network(source.description.reading(read)).to(source.mean.device)
    assert isinstance(network.backbone, Transformer)
    network.backbone.blocks.load_state_dict(source.backbone.blocks.state_dict())
    network.backbone.norm.load_state_dict(source.backbone.norm.state_dict())
    network.set_head(source.head, source.description.classes)
    if strategy.crosses_modalities:
        network.extras[ORIGIN] = Frozen(source)
    return network

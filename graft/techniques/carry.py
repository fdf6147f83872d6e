"""Adapt a network to another modality: keep its blocks, and start with a new embedding."""

from graft.contract import Strategy
from graft.data.inputs import Input, Text
from graft.networks.network import Description, Frozen, Network
from graft.networks.transformer import Transformer

ORIGIN = "origin"
"""Name in the extras of the adapted network: the original source network, for strategies that need it."""


def crosses(source: Input, target: Input) -> bool:
    """Whether the two inputs are of different modalities: images and texts, or texts with different vocabularies."""
    if isinstance(source, Text) and isinstance(target, Text):
        return source.vocabulary != target.vocabulary
    return isinstance(source, Text) != isinstance(target, Text)


def require_source(strategy: Strategy, count: int) -> None:
    """Check that a strategy that trains on source data has some.

    Raises:
        ValueError: there is no source data.
    """
    if strategy.uses_source_data and not strategy.source_is_optional and not count:
        raise ValueError("it also trains on source data, but there is none (prepare.source: none)")


def carried(source: Network, read: Input, strategy: Strategy) -> Network:
    """`source`, adapted to the target's input; `source` itself if it can already read it, for every strategy.

    Otherwise the blocks and norms of a transformer and the head are kept, and the embedding is initialised again.

    Raises:
        ValueError: the strategy or the backbone cannot transfer between the two modalities; the message says why.
    """
    found = source.description.reads
    if not crosses(found, read):
        return source
    if strategy.text_bytes and isinstance(read, Text):  # it reads the target by a network of its own
        if isinstance(found, Text):
            return source
        if not strategy.uses_source_data:
            return Network(Description("text_bag", source.description.classes).reading(read))
    where = f"the source network reads {found}, and the target is {read}"
    if not strategy.crosses_modalities and strategy.uses_source_data:
        raise ValueError(
            f"{strategy.name} trains on source and target data together, but {where}: no network reads both"
        )
    if not strategy.uses_labels:
        raise ValueError(f"{strategy.name} uses no target labels, but {where}: a transfer between these needs labels")
    if not isinstance(source.backbone, Transformer):
        raise ValueError(
            f"{where}; backbone {source.description.backbone} cannot transfer between modalities: "
            "set pretrain.backbone to transformer_tiny or transformer_small"
        )
    network = Network(source.description.reading(read)).to(source.mean.device)
    assert isinstance(network.backbone, Transformer)
    network.backbone.blocks.load_state_dict(source.backbone.blocks.state_dict())
    network.backbone.norm.load_state_dict(source.backbone.norm.state_dict())
    network.set_head(source.head, source.description.classes)
    if strategy.crosses_modalities:
        network.extras[ORIGIN] = Frozen(source)
    return network

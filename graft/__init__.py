"""Floor 1, pure torch: networks, strategies, the single training loop, honest comparison. No files, no servers.

Import everything that a strategy needs from here; these names stay when modules move:

    from graft import Network, ParameterGroup, Strategy, fresh_head

Imports are lazy: listing the names of the strategies does not load torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graft.contract import Batch as Batch
    from graft.contract import ParameterGroup as ParameterGroup
    from graft.contract import Step as Step
    from graft.contract import Strategy as Strategy
    from graft.data.split import Domains as Domains
    from graft.data.split import Split as Split
    from graft.networks.batch_norm import batch_norms as batch_norms
    from graft.networks.heads import fresh_head as fresh_head
    from graft.networks.heads import matched_head as matched_head
    from graft.networks.layers import Layer as Layer
    from graft.networks.layers import layers as layers
    from graft.networks.network import Frozen as Frozen
    from graft.networks.network import Network as Network
    from graft.networks.network import predict as predict
    from graft.networks.stages import NORMS as NORMS
    from graft.networks.stages import Stage as Stage
    from graft.networks.stages import keep_frozen_statistics as keep_frozen_statistics
    from graft.networks.stages import stages as stages
    from graft.settings import Fraction as Fraction
    from graft.settings import Positive as Positive
    from graft.settings import Searched as Searched

HOMES = {
    **dict.fromkeys(("Batch", "ParameterGroup", "Step", "Strategy"), "graft.contract"),
    **dict.fromkeys(("Domains", "Split"), "graft.data.split"),
    **dict.fromkeys(("batch_norms",), "graft.networks.batch_norm"),
    **dict.fromkeys(("fresh_head", "matched_head"), "graft.networks.heads"),
    **dict.fromkeys(("Layer", "layers"), "graft.networks.layers"),
    **dict.fromkeys(("Frozen", "Network", "predict"), "graft.networks.network"),
    **dict.fromkeys(("NORMS", "Stage", "keep_frozen_statistics", "stages"), "graft.networks.stages"),
    **dict.fromkeys(("Fraction", "Positive", "Searched"), "graft.settings"),
}
"""The module that defines each public name."""
__all__ = sorted(HOMES)


def __getattr__(name: str) -> object:
    if name not in HOMES:
        raise AttributeError(f"module 'graft' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(HOMES[name]), name)

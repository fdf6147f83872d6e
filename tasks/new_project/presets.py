"""How much a new project compares: what takes minutes, an hour, or a night. No torch here."""

from collections.abc import Mapping
from dataclasses import dataclass

from tasks.new_project.answers import Edit

_ON_FEATURES = ("scratch", "tfidf", "linear_probe", "joint_probe", "self_training")
"""Strategies that train no backbone, and the baseline."""
_MORE = ("label_propagation", "norm_tuning", "l2_sp", "co_tuning", "stoch_norm")
"""Strategies that differ from the usual ones."""
_MORE_FOR_TEXTS = ("label_propagation", "l2_sp", "setfit")


@dataclass(frozen=True)
class Preset:
    """Defaults of a new project; what the user asks for goes before."""

    without_training: bool = False
    """Whether only what trains no backbone is compared."""
    has_more: bool = False
    """Whether further strategies are compared too."""
    seeds: tuple[int, ...] = (0, 1, 2)
    settings: tuple[Edit, ...] = ()
    """Of params.yaml."""

    def strategies(self, usual: tuple[str, ...]) -> tuple[str, ...]:
        """Those to compare, where `usual` are the strategies that suit the data and the network."""
        if self.without_training:
            return tuple(name for name in usual if name in _ON_FEATURES)
        more = _MORE_FOR_TEXTS if "tfidf" in usual else _MORE
        return (*usual, *more) if self.has_more else usual


PRESETS: Mapping[str, Preset] = {
    "quick": Preset(without_training=True, seeds=(0,)),
    "standard": Preset(),
    # More seeds, so that an interval tells more strategies apart, and a search of the learning rate.
    "best": Preset(has_more=True, seeds=(0, 1, 2, 3, 4), settings=((("tune", "trials"), 3),)),
}
"""By name: the flags of `graft init`."""
STANDARD = "standard"

"""How much a new project compares: what takes minutes, an hour, or a night. No torch here."""

from dataclasses import dataclass

from tasks.new_project.answers import STRATEGIES, Edit


@dataclass(frozen=True)
class Preset:
    """Defaults of a new project; what the user asks for goes before."""

    strategies: tuple[str, ...] = STRATEGIES
    seeds: tuple[int, ...] = (0, 1, 2)
    settings: tuple[Edit, ...] = ()
    """Of params.yaml."""


PRESETS = {
    # Only heads on features that are computed once: no training of a backbone but that of the baseline.
    "quick": Preset(("linear_probe", "joint_probe", "prototype", "self_training"), (0,)),
    "standard": Preset(),
    # More that differs, more seeds, so that an interval tells them apart, and a search of the learning rate.
    "best": Preset(
        (*STRATEGIES, "label_propagation", "norm_tuning", "l2_sp", "co_tuning", "stoch_norm"),
        (0, 1, 2, 3, 4),
        ((("tune", "trials"), 3),),
    ),
}
"""By name: the flags of `graft init`."""
STANDARD = "standard"

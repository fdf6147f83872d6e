"""Check, before anything is trained, that each strategy in params.yaml works with this data and this backbone.

`python -m tasks.checks.strategies`, once build/data exists. The classes come from the data card; the weights do not
matter.
"""

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from graft.data.inputs import Input
from graft.networks.network import Description, Network
from graft.strategies import look_in, strategy_class
from graft.techniques.carry import carried, require_source
from tasks.artifacts.networks import load_description
from tasks.artifacts.splits import packed_input
from tasks.common.errors import GraftError
from tasks.common.places import CARD, GIVEN_WEIGHTS, OWN_STRATEGIES, PARAMS, POOL, SOURCE
from tasks.common.yaml_files import load_yaml
from tasks.settings.forecast import OWN
from tasks.settings.pretrain import PretrainSettings
from tasks.settings.sources import read_use
from tasks.settings.yaml_sections import parse, read_section
from tasks.source_models.origin import read_origin
from tasks.stage.process import run_stage

SECTIONS = ("strategies", "label_free")


def check_suitability(root: Path) -> None:
    """Let every strategy adapt an untrained network to the target's classes.

    Raises:
        GraftError: some cannot; lists all of them with the reasons.
    """
    look_in(root / OWN_STRATEGIES)
    if read_use(root / PARAMS) != OWN:
        return  # which source model it will be, and its classes, is not known yet
    pretrain = read_section(root / PARAMS, "pretrain", PretrainSettings)
    domains = json.loads((root / CARD).read_text(encoding="utf-8"))["domains"]
    source, target = (tuple(domains[name]["classes"]) for name in ("source", "pool"))
    try:
        network = Network(_description(root, pretrain, source, packed_input(root / SOURCE)))
    except Exception:  # the stage `pretrain` reports best why the network cannot be built
        return
    content, read = load_yaml(root / PARAMS), packed_input(root / POOL)
    problems = []
    for section in SECTIONS:
        for name, knobs in (content.get(section) or {}).items():
            strategy: Any = parse(knobs or {}, strategy_class(name), where=f"{PARAMS}: {section}.{name}")
            try:
                require_source(strategy, domains["source"]["n"])
                strategy.adapt(carried(deepcopy(network), read, strategy), target)
            except ValueError as error:
                problems.append(f"{PARAMS}: {section}.{name}: {error}")
    if problems:
        raise GraftError(
            problems, "Remove these from params.yaml, or map the source's classes to the target's: prepare.class_map."
        )


def _description(root: Path, settings: PretrainSettings, source: tuple[str, ...], read: Input) -> Description:
    """The description of the network that the stage `pretrain` will make."""
    origin = read_origin(root / GIVEN_WEIGHTS)
    if origin is None:
        return Description(settings.backbone, source).reading(read)
    given = load_description(origin.folder).reading(read)
    return given if settings.learn == "nothing" else replace(given, classes=source)


if __name__ == "__main__":
    run_stage(lambda: check_suitability(Path()))

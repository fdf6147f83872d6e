"""Stage `weights`: the weights that pretraining starts from, in one format, whatever their origin.

Reads weights/, `pretrain.weights` and `pretrain.weights_sha256`, and the weights that these name: those of a library or
a registry are downloaded once, and DVC keeps them from then on. Writes build/sources/weights: the network and
origin.json, or only the latter with `pretrain.weights: none`.
"""

from pathlib import Path

from tasks.common.environment import prepare_environment
from tasks.common.places import GIVEN_WEIGHTS, PARAMS
from tasks.settings.pretrain import PretrainSettings
from tasks.settings.yaml_sections import read_section
from tasks.source_models.find import origin
from tasks.source_models.given_network import write_given
from tasks.stage.process import run_stage


def weights(project: Path) -> None:
    """Load the weights of section `pretrain` into the project."""
    settings = read_section(project / PARAMS, "pretrain", PretrainSettings)
    write_given(project / GIVEN_WEIGHTS, settings.weights, settings.weights_sha256, origin(settings.weights, project))


if __name__ == "__main__":
    prepare_environment(Path.cwd())
    run_stage(lambda: weights(Path()))

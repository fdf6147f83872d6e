"""Stage `pretrain`: train the backbone on the source domain, from scratch or from given weights.

Reads build/data/source, build/sources/weights and section `pretrain`; writes build/pretrained.
"""

from tasks.artifacts.splits import load_split
from tasks.artifacts.tokens import as_read_by, tokenizer_of
from tasks.common.files import new_folder
from tasks.common.places import GIVEN_WEIGHTS, PARAMS, PRETRAINED, SOURCE
from tasks.settings.pretrain import PretrainSettings
from tasks.settings.yaml_sections import read_section
from tasks.source_models.origin import read_origin
from tasks.source_models.train import source_model
from tasks.stage.process import run_stage


def pretrain(settings: PretrainSettings) -> None:
    """Make the source model and write it with its curve and its metrics."""
    pictures = as_read_by(GIVEN_WEIGHTS, load_split(SOURCE), SOURCE)
    model = source_model(settings, pictures, read_origin(GIVEN_WEIGHTS), "pretrain")
    with new_folder(PRETRAINED) as folder:
        model.write(folder, tokenizer_of(GIVEN_WEIGHTS, SOURCE))


if __name__ == "__main__":
    run_stage(lambda: pretrain(read_section(PARAMS, "pretrain", PretrainSettings)))

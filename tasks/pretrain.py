"""Stage `pretrain`: train the backbone on the source domain, from scratch or from given weights.

Reads build/data/source, build/sources/weights and section `pretrain`; writes build/pretrained.
"""

from pathlib import Path

from tasks.artifacts.splits import load_split
from tasks.artifacts.tokens import as_read_by, tokenizer_of
from tasks.common.files import new_folder
from tasks.settings.pretrain import PretrainSettings
from tasks.settings.yaml_sections import read_section
from tasks.source_models.origin import read_origin
from tasks.source_models.train import source_model
from tasks.stage.process import run_stage

SOURCE = Path("build/data/source")
WEIGHTS = Path("build/sources/weights")
OUTPUT = Path("build/pretrained")


def pretrain(settings: PretrainSettings) -> None:
    """Make the source model and write it with its curve and its metrics."""
    pictures = as_read_by(WEIGHTS, load_split(SOURCE), SOURCE)
    model = source_model(settings, pictures, read_origin(WEIGHTS), "pretrain")
    with new_folder(OUTPUT) as folder:
        model.write(folder, tokenizer_of(WEIGHTS, SOURCE))


if __name__ == "__main__":
    run_stage(lambda: pretrain(read_section(Path("params.yaml"), "pretrain", PretrainSettings)))

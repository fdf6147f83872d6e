"""Stage `pretrain`: the backbone learns the source domain, from fresh weights or given ones.

Reads build/data/source, build/sources/weights and section `pretrain`; writes build/pretrained.
"""

from pathlib import Path

from tasks.artifacts import load_split
from tasks.datasets.tokenizer import TOKENIZER
from tasks.files import new_folder
from tasks.given.read import read_origin
from tasks.parameters import read_section
from tasks.settings.pretrain import PretrainSettings
from tasks.source_training import source_model
from tasks.stage import run_stage

SOURCE = Path("build/data/source")
WEIGHTS = Path("build/sources/weights")
OUTPUT = Path("build/pretrained")


def pretrain(settings: PretrainSettings) -> None:
    """Write the source model with its curve and its metrics."""
    model = source_model(settings, load_split(SOURCE), read_origin(WEIGHTS), "pretrain")
    with new_folder(OUTPUT) as folder:
        model.write(folder, SOURCE / TOKENIZER)


if __name__ == "__main__":
    run_stage(lambda: pretrain(read_section(Path("params.yaml"), "pretrain", PretrainSettings)))

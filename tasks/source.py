"""Stage `source`: make a further source model, one of those to choose from.

Reads weights/, data/ or build/data/source, and sections `prepare`, `pretrain` and `sources.NAME`; writes
build/sources/NAME: the network, its curve and metrics, and its images if it has its own.
"""

import argparse
import shutil
from pathlib import Path

from tasks.artifacts.splits import load_split
from tasks.artifacts.tokens import as_read_by, tokenizer_of
from tasks.common.environment import prepare_environment
from tasks.common.files import new_folder
from tasks.common.places import PARAMS, SOURCE, SOURCES
from tasks.prepare import prepare
from tasks.settings.prepare import PrepareSettings
from tasks.settings.sources import read_source
from tasks.source_models.find import origin
from tasks.source_models.given_network import write_given
from tasks.source_models.in_use import IMAGES
from tasks.source_models.origin import read_origin
from tasks.source_models.train import source_model
from tasks.stage.process import run_stage


def source(project: Path, name: str) -> None:
    """Pack the images of source `name`, get its weights, and train them as `sources.NAME` says."""
    data, settings = read_source(project / PARAMS, name)
    with new_folder(project / SOURCES / name) as folder:
        pictures = _pack(project, data, folder) if data else project / SOURCE
        given = folder / "given"
        write_given(given, settings.weights, settings.weights_sha256, origin(settings.weights, project))
        read = as_read_by(given, load_split(pictures), pictures)
        model = source_model(settings, read, read_origin(given), f"sources.{name}")
        model.write(folder, tokenizer_of(given, pictures))
        shutil.rmtree(given)


def _pack(project: Path, data: PrepareSettings, folder: Path) -> Path:
    """Pack the images of a source as `prepare` does, checked against the target like the project's own."""
    prepare(project, data, folder / "packed")
    (folder / "packed/source").rename(folder / IMAGES)
    shutil.rmtree(folder / "packed")
    return folder / IMAGES


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make a further source model.")
    parser.add_argument("--name", required=True)
    wanted = parser.parse_args().name
    prepare_environment(Path.cwd())
    run_stage(lambda: source(Path(), wanted))

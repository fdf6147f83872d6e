"""Stage `pretrain`: train the backbone on the source domain.

Reads build/data/source and section `pretrain`; writes build/pretrained.
"""

from dataclasses import replace
from pathlib import Path

import torch

from graft.device import choose_device
from graft.loop import train
from graft.network import Description, Network, predict
from graft.sampling import hold_out
from graft.split import Domains, Split
from graft.strategies.scratch import Scratch
from tasks.artifacts import load_split, save_network
from tasks.checkpoints import StageCheckpoints
from tasks.curves import announce, write_curve
from tasks.datasets.tokenizer import TOKENIZER
from tasks.errors import GraftError
from tasks.files import new_folder, write_json
from tasks.parameters import read_section
from tasks.settings.pretrain import PretrainSettings
from tasks.stage import batch_parts, run_stage

SOURCE = Path("build/data/source")
OUTPUT = Path("build/pretrained")


def pretrain(settings: PretrainSettings) -> None:
    """Train on the source's pictures or texts but those held out, and write the network with its curve."""
    training, validation = hold_out(load_split(SOURCE), settings.validation_fraction, settings.seed)
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    network = new_network(settings.backbone, training).to(choose_device())
    try:
        fit = train(
            network,
            Scratch(),
            Domains(training, validation),
            settings.training,
            seed=settings.seed,
            on_evaluation=announce,
            checkpoints=StageCheckpoints.of_this_stage().next_training(),
            parts=batch_parts(),
        )
    except FloatingPointError as error:
        raise GraftError(str(error), "See `pretrain.training` in params.yaml.") from None
    probabilities, _ = predict(network, validation.images)
    accuracy = (probabilities.argmax(dim=1) == validation.labels).double().mean().item()
    with new_folder(OUTPUT) as folder:
        save_network(folder, network, SOURCE / TOKENIZER)
        write_curve(folder / "curve.csv", fit.curve)
        metrics = {
            "n_train": len(training),
            "n_validation": len(validation),
            "accuracy": accuracy,
            "loss": min(point.val_loss for point in fit.curve if point.step == fit.selected_step),
            "steps": fit.selected_step,
            "parameters": sum(p.numel() for p in network.parameters()),
        }
        write_json(folder / "metrics.json", metrics)


def new_network(backbone: str, pictures: Split) -> Network:
    """A fresh network for such pictures, normalised by their mean and standard deviation a channel; or for such texts.

    Raises:
        GraftError: no backbone has that name, or it cannot take such pictures.
    """
    description = Description(backbone, pictures.classes).reading(pictures.reads)
    if not pictures.vocabulary:
        mean, std = pictures.mean_and_std()
        description = replace(
            description,
            mean=tuple(round(value, 4) for value in mean),
            std=tuple(max(0.01, round(value, 4)) for value in std),
        )
    try:
        network = Network(description)
        network(pictures.images[:2])  # some of torchvision's bodies take pictures of one size only
    except Exception as error:  # whatever a foreign body raises
        raise GraftError(f"params.yaml: pretrain.backbone: {backbone!r} cannot be used here: {error}") from None
    return network


if __name__ == "__main__":
    run_stage(lambda: pretrain(read_section(Path("params.yaml"), "pretrain", PretrainSettings)))

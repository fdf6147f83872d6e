"""Train a source model: from given weights or from scratch, on the source's images."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from graft.contract import Strategy
from graft.data.sampling import hold_out
from graft.data.split import Domains, Split
from graft.loop import Fit, train
from graft.measures.input_fit import InputFit, input_fit
from graft.networks.device import choose_device
from graft.networks.heads import matched_head
from graft.networks.input_change import for_input
from graft.networks.network import Description, Network, predict
from graft.strategies.linear_probe import LinearProbe
from graft.strategies.scratch import Scratch
from graft.techniques.calibration import fit_temperature
from tasks.artifacts.networks import load_network, save_network
from tasks.common.errors import GraftError
from tasks.common.files import write_json
from tasks.settings.pretrain import PretrainSettings
from tasks.source_models.origin import Origin
from tasks.stage.checkpoints import StageCheckpoints
from tasks.stage.process import batch_parts
from tasks.trials.curves import announce, write_curve


@dataclass(frozen=True)
class SourceModel:
    """A network that the trials can start from, and how it was made."""

    network: Network
    fit: Fit | None
    """None if given weights were used unchanged."""
    n_train: int
    """Number of source images that it was trained on."""
    validation: Split
    """The source images held out."""
    origin: Origin | None
    """The origin of given weights; None if trained from scratch."""
    seen: InputFit | None
    """How well the images fit the normalisation of given weights."""

    def write(self, folder: Path, tokenizer: bytes | None) -> None:
        """Write the network, its curve and its metrics into an existing folder; `tokenizer` is its file's content."""
        save_network(folder, self.network, tokenizer)
        write_curve(folder / "curve.csv", self.fit.curve if self.fit else [])
        write_json(folder / "metrics.json", self._metrics())

    def _metrics(self) -> dict[str, Any]:
        fit = self.fit
        found: dict[str, Any] = {
            "n_train": self.n_train,
            "n_validation": len(self.validation),
            "accuracy": _accuracy(self.network, self.validation),
            "loss": min(point.val_loss for point in fit.curve if point.step == fit.selected_step)
            if fit and fit.curve
            else None,
            "steps": fit.selected_step if fit else 0,
            "parameters": sum(p.numel() for p in self.network.parameters()),
        }
        if self.origin:
            found["weights"] = self.origin.to_dict()
        if self.seen:
            found["input"] = {**asdict(self.seen), "does_not_fit": self.seen.faults}
        return found


def source_model(settings: PretrainSettings, source: Split, origin: Origin | None, where: str) -> SourceModel:
    """Train on the source's images except those held out, or use given weights unchanged.

    Args:
        origin: of given weights; None to train from scratch.
        where: the section of params.yaml, for messages.

    Raises:
        GraftError: the backbone or the weights cannot be used here, or training fails.
    """
    if not len(source) and not (origin and settings.learn == "nothing"):
        raise GraftError(
            f"params.yaml: prepare.source is none, so {where} has no images to train on",
            f"Use given weights unchanged ({where}.weights, with {where}.learn: nothing), or set a source.",
        )
    training = validation = source
    if len(source):
        try:
            whole = replace(source, groups=None) if settings.learn == "nothing" else source
            training, validation = hold_out(whole, settings.validation_fraction, settings.seed)
        except ValueError as error:
            what = f"{where}.validation_fraction: {settings.validation_fraction:g} of the source cannot be held out"
            raise GraftError(f"{what}: {error}", "See prepare.source_group_column in params.yaml.") from None
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    network = _given(origin, training, where) if origin else new_network(settings.backbone, training, where)
    seen = input_fit(network, training.images) if origin and len(training) and not training.vocabulary else None
    for fault in seen.faults if seen else []:
        print(f"warning: the input statistics do not fit the weights' normalisation: {fault}", flush=True)
    if origin and settings.learn == "nothing":
        if len(source) and not network.description.classes:
            raise GraftError(
                f"params.yaml: {where}.learn: {origin.weights} has no head, so 'nothing' is not possible; use 'head'"
            )
        return SourceModel(network, None, 0, validation, origin, seen)
    if settings.learn != "all" and not origin:
        raise GraftError(
            f"params.yaml: {where}.learn: {settings.learn!r} needs weights to start from ({where}.weights); "
            "without weights use 'all'"
        )
    strategy: Strategy = Scratch()
    if settings.learn == "head":
        strategy = LinearProbe(related=bool(network.description.classes))
        network = strategy.adapt(network, training.classes)
    elif origin:
        matched_head(network, training.classes)
    try:
        fit = train(
            network.to(choose_device()),
            strategy,
            Domains(training, validation),
            settings.training,
            seed=settings.seed,
            on_evaluation=announce,
            checkpoints=StageCheckpoints.of_this_stage().next_training(),
            parts=batch_parts(),
        )
    except FloatingPointError as error:
        raise GraftError(str(error), f"See `{where}.training` in params.yaml.") from None
    network = strategy.finish(network)
    network.description = replace(network.description, temperature=_held_out_temperature(network, validation))
    return SourceModel(network, fit, len(training), validation, origin, seen)


def _held_out_temperature(network: Network, held_out: Split) -> float | None:
    """The temperature to divide the network's logits by, to four digits; None if it cannot be determined."""
    features = predict(network, held_out.images)[1]
    with torch.no_grad():
        found = fit_temperature(network.cpu().head(features), held_out.labels)
    return found and float(f"{found:.4g}")


def _given(origin: Origin, pictures: Split, where: str) -> Network:
    """The given network, adapted to such images or texts."""
    try:
        network = for_input(load_network(origin.folder), pictures.reads)
        network(network.example(2))
    except Exception as error:  # a foreign body can raise anything
        raise GraftError(f"params.yaml: {where}.weights: {origin.weights!r} cannot be used here: {error}") from None
    return network


def _accuracy(network: Network, validation: Split) -> float | None:
    """Accuracy on the source's held-out images; None if the network does not have their classes."""
    known = network.description.classes
    if not len(validation) or not set(validation.classes) <= set(known):
        return None
    columns = [known.index(name) for name in validation.classes]
    answers = predict(network.to(choose_device()), validation.images)[0][:, columns].argmax(dim=1)
    return (answers == validation.labels).double().mean().item()


def new_network(backbone: str, pictures: Split, where: str = "pretrain") -> Network:
    """A new network for such images, normalised by their mean and standard deviation per channel; or for such texts.

    Raises:
        GraftError: the backbone is unknown, or does not accept such images.
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
        network(pictures.images[:2])  # some of torchvision's bodies accept images of one size only
    except Exception as error:  # a foreign body can raise anything
        raise GraftError(f"params.yaml: {where}.backbone: {backbone!r} cannot be used here: {error}") from None
    return network

"""Weights in a file in weights/, described by a file next to it: architecture, normalisation, classes."""

import pickle
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le, MinLen
from safetensors import SafetensorError
from safetensors.torch import load_file

from graft.networks import efficientnet_lite
from graft.networks.backbones import EFFICIENTNET_LITE0
from graft.networks.network import Description
from graft.networks.state_dicts import Named, in_our_names, published_lite0, unwrap, without_prefix
from tasks.common.errors import GraftError
from tasks.common.places import WEIGHTS
from tasks.common.yaml_files import load_yaml
from tasks.settings.yaml_sections import parse
from tasks.source_models.from_library import numbered
from tasks.source_models.given_network import GivenNetwork, as_saved, network_of

"""The folder that DVC tracks for the stage: a file from anywhere else could change unnoticed."""
_BESIDE = (".yaml", ".json")
_EXAMPLE = (
    "Write that file, for example with `backbone: torchvision:resnet18`, `image_size: 224`, `mean: [0.485, 0.456, "
    "0.406]`, `std: [0.229, 0.224, 0.225]`, and `classes:` if the class names matter."
)


MOST_PIXELS, MOST = 1024, 255.0
"""Largest side; and largest mean or standard deviation, so that infinite values and NaN are refused."""


@dataclass(frozen=True)
class Stated:
    """The description next to a file of weights; the same keys in `.yaml` and `.json`."""

    backbone: str
    """A name known to `graft.networks.backbones`."""
    image_size: Annotated[int, Ge(8), Le(MOST_PIXELS)]
    """Pixels."""
    mean: Annotated[list[Annotated[float, Ge(-MOST), Le(MOST)]], MinLen(1)]
    """Per channel (or one for all) of images in [0, 1]."""
    std: Annotated[list[Annotated[float, Gt(0.0), Le(MOST)]], MinLen(1)]
    """Per channel (or one for all) of images in [0, 1]."""
    channels: Literal[1, 3] = 3
    """1 grey, 3 colour."""
    classes: list[str] | None = None
    """Class names in the order of the head's outputs; numbers if not given."""
    prefix: str = ""
    """Use only the weights whose names start with this prefix, which is removed."""


LITE0 = Stated(
    EFFICIENTNET_LITE0,
    efficientnet_lite.IMAGE_SIZE,
    list(efficientnet_lite.MEAN),
    list(efficientnet_lite.STD),
)
"""The published weights of EfficientNet-Lite0 are recognised by their names and need no description."""


def from_file(weights: str, project: Path) -> GivenNetwork:
    """Load a folder that Graft wrote (`model.safetensors`, `model.json`), or a file with its description next to it.

    Raises:
        GraftError: it is outside weights/, cannot be read, or does not match its description.
    """
    path = _inside(weights, project)
    if path.is_dir():
        return as_saved(path, "as Graft saved it")
    try:
        state = unwrap(_read(path))
    except ValueError as error:
        raise GraftError(f"{weights}: {error}", "Expected a state dict: names of weights, and tensors.") from None
    stated = _stated(path, weights, state)
    state = without_prefix(state, stated.prefix)
    if not state:
        raise GraftError(f"{weights}: no weight's name starts with the prefix {stated.prefix!r}")
    try:
        named = in_our_names(stated.backbone, state)
    except ValueError as error:
        raise GraftError(f"{weights}: {error}") from None
    description = Description(
        stated.backbone,
        _classes(stated, named, weights),
        stated.channels,
        stated.image_size,
        tuple(stated.mean),
        tuple(stated.std),
    )
    return GivenNetwork(network_of(description, named, weights), path.name)


def _inside(weights: str, project: Path) -> Path:
    folder, path = (project / WEIGHTS).resolve(), (project / weights).resolve()
    if not path.is_relative_to(folder):
        raise GraftError(
            f"params.yaml: weights: {weights!r} is not a file in {WEIGHTS}/",
            f"Copy it into {WEIGHTS}/, which DVC tracks for this stage. Other valid forms: none, torchvision:NAME, "
            "timm:NAME, minilm, wordllama, hf:FOLDER, models:/NAME@ALIAS.",
        )
    if not path.exists():
        there = sorted(
            str(p.relative_to(folder.parent)) for p in folder.rglob("*") if p.suffix in (".pth", ".pt", ".safetensors")
        )
        raise GraftError(f"params.yaml: weights: {weights} not found; found: {', '.join(there) or 'none'}")
    return path


def _read(path: Path) -> object:
    """The content of the file; a pickle that could run code is refused.

    Raises:
        GraftError: it cannot be read.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise GraftError(f"{path.name}: not a safetensors file, or damaged: {error}") from None
    except Exception as error:  # a damaged pickle can raise anything
        if isinstance(error, pickle.UnpicklingError) and "Unsupported global" in str(error):
            raise GraftError(
                f"{path.name}: contains more than weights: objects that could run code when they are loaded",
                "Load it where you trust it, and save only its state dict: torch.save(model.state_dict(), FILE).",
            ) from None
        why = (str(error).strip() or repr(error)).splitlines()[0]
        raise GraftError(f"{path.name}: not a file written by torch.save, or damaged: {why}") from None


def _stated(path: Path, weights: str, state: Iterable[str]) -> Stated:
    beside = [path.with_suffix(suffix) for suffix in _BESIDE if path.with_suffix(suffix).exists()]
    if len(beside) > 1:
        raise GraftError(f"{weights}: {' and '.join(p.name for p in beside)} both describe it; keep one")
    if beside:
        stated: Stated = parse(load_yaml(beside[0]), Stated, where=f"{Path(weights).parent / beside[0].name}")
        wrong = [key for key in ("mean", "std") if len(getattr(stated, key)) not in (1, stated.channels)]
        names = stated.classes or []
        twice = sorted({name for name in names if names.count(name) > 1})
        faults = [f"{key}: needs one value, or one per channel ({stated.channels})" for key in wrong]
        faults += [f"classes: repeated names: {', '.join(twice)}"] if twice else []
        if faults:
            raise GraftError([f"{beside[0].name}: {fault}" for fault in faults])
        return stated
    if published_lite0(dict.fromkeys(state, torch.empty(0))):
        return LITE0
    raise GraftError(
        f"{weights}: the architecture and normalisation of these weights are unknown: there is no "
        f"{path.with_suffix(_BESIDE[0]).name} next to the file",
        _EXAMPLE,
    )


def _classes(stated: Stated, named: Named, weights: str) -> tuple[str, ...]:
    if stated.classes is None:
        return numbered(named.classes)
    if named.classes and len(stated.classes) != named.classes:
        raise GraftError(
            f"{weights}: classes: {len(stated.classes)} names are given, but the head has {named.classes} classes"
        )
    return tuple(stated.classes) if named.classes else ()

"""Weights of torchvision and timm by name; both libraries download them once and cache them."""

from typing import Any
from urllib.error import URLError

from graft.networks.foreign_bodies import TIMM, TORCHVISION, timm_model
from graft.networks.network import Description
from graft.networks.state_dicts import in_our_names
from tasks.common.errors import AwayError, GraftError
from tasks.settings.yaml_sections import suggest
from tasks.source_models.given_network import GivenNetwork, network_of

_OFFLINE = (
    "Without network access, download them on another machine and copy its cache (.graft/torch or "
    ".graft/huggingface, unless TORCH_HOME or HF_HOME is set), or put the file into weights/."
)


def from_torchvision(weights: str) -> GivenNetwork:
    """`torchvision:ResNet18_Weights.IMAGENET1K_V1`, with torchvision's normalisation and classes.

    Raises:
        GraftError: the name is unknown (lists similar ones), or the weights cannot be downloaded.
    """
    name = weights.removeprefix(TORCHVISION)
    model, found = _torchvision_weights(name, weights)
    try:
        state = found.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError) as error:
        raise AwayError(f"{weights}: {found.url} cannot be downloaded: {error}", _OFFLINE) from None
    how, backbone = found.transforms(), f"{TORCHVISION}{model}"
    classes, size = tuple(found.meta["categories"]), how.crop_size[0]
    description = Description(backbone, classes, 3, size, tuple(how.mean), tuple(how.std))
    return GivenNetwork(
        network_of(description, in_our_names(backbone, state), weights), str(found.url).rpartition("/")[2]
    )


def _torchvision_weights(name: str, weights: str) -> tuple[str, Any]:
    """The classifier's name and torchvision's entry for its weights."""
    from torchvision import models

    every = {
        str(entry): (model, entry)
        for model in models.list_models(module=models)
        for entry in models.get_model_weights(model)
    }
    if name in every:
        return every[name]
    of_model = [entry for entry, (model, _) in every.items() if model == name]
    near = f"the weights of {name} are: {', '.join(of_model)}" if of_model else _near(name, list(every))
    raise GraftError(f"params.yaml: weights: {weights!r}: torchvision has no such weights; {near}")


def _near(name: str, every: list[str]) -> str:
    kind = name.partition("_Weights")[0].lower()
    return suggest(name, [entry for entry in every if entry.lower().startswith(kind[:6])] or every[:6])


def from_timm(weights: str) -> GivenNetwork:
    """`timm:NAME`, with the normalisation and the input size of timm's own configuration.

    Raises:
        GraftError: timm is not installed or has no such weights, or they cannot be downloaded.
    """
    try:
        model = timm_model(weights.removeprefix(TIMM), pretrained=True)
    except (ValueError, RuntimeError) as error:  # RuntimeError: a model without weights
        raise GraftError(f"params.yaml: weights: {weights!r}: {error}") from None
    except Exception as error:  # the hub's library raises many types of errors
        raise AwayError(
            f"{weights}: the weights cannot be downloaded: {str(error).splitlines()[0]}", _OFFLINE
        ) from None
    how = model.pretrained_cfg
    description = Description(weights, _classes(model), 3, how["input_size"][-1], tuple(how["mean"]), tuple(how["std"]))
    version = how.get("hf_hub_id") or how.get("url") or weights
    return GivenNetwork(network_of(description, in_our_names(weights, model.state_dict()), weights), str(version))


def _classes(model: Any) -> tuple[str, ...]:
    """ImageNet's class names where timm knows that the model has them; numbers otherwise."""
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

    if model.num_classes and (subset := infer_imagenet_subset(model)):
        return tuple(ImageNetInfo(subset).label_descriptions())
    return numbered(model.num_classes)


def numbered(classes: int) -> tuple[str, ...]:
    """Names for classes without names: class 0, class 1, …"""
    return tuple(f"class {number}" for number in range(classes))

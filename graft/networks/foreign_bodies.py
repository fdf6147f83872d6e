"""Backbones from other libraries: classifiers of torchvision and timm without their last linear layer.

Legend: B batch, C channels, H W height and width, D features, K classes.
"""

import difflib
from typing import Any

import torch
from torch import Tensor, nn

TORCHVISION = "torchvision:"
"""Prefix of names from torchvision: `torchvision:resnet18`."""

TIMM = "timm:"
"""Prefix of names from timm: `timm:resnet18`, or `timm:resnet18.a1_in1k`, which also names the weights."""


def from_torchvision(name: str, size: int) -> tuple[nn.Module, int]:
    """A freshly initialised backbone (B, 3, H, W) -> (B, D) and D; a vision transformer is built for `size` pixels.

    Raises:
        ValueError: torchvision has no such classifier, or it does not end in a single linear layer.
    """
    model = _torchvision_classifier(name, size)
    path = last_linear(name, model)
    last = model.get_submodule(path)
    assert isinstance(last, nn.Linear)
    parent, _, attribute = path.rpartition(".")
    setattr(model.get_submodule(parent), attribute, nn.Identity())
    return model, last.in_features


def _torchvision_classifier(name: str, size: int) -> nn.Module:
    from torchvision import models

    classifiers = models.list_models(module=models)  # not the detection models, whose builders download weights
    if name not in classifiers:
        near = difflib.get_close_matches(name, classifiers, n=3) or ["resnet18", "mobilenet_v3_small"]
        raise ValueError(f"torchvision has no classifier {name!r}; similar names: {', '.join(near)}")
    model: nn.Module = models.get_model(name, weights=None, **({"image_size": size} if name.startswith("vit_") else {}))
    if getattr(model, "aux_logits", False):
        raise ValueError(f"torchvision's {name!r} has more than one classifier; use a model with a single head")
    return model


def last_linear(name: str, model: nn.Module) -> str:
    """Name of the last linear layer (D -> K) of a torchvision classifier.

    Raises:
        ValueError: it has no linear layer.
    """
    linear = [path for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError(f"torchvision's {name!r} does not end in a linear layer, so it has no features to transfer")
    return str(linear[-1])


def from_timm(name: str, size: int) -> tuple[nn.Module, int]:
    """A freshly initialised backbone (B, 3, H, W) -> (B, D) and D, built for `size` pixels if its size is fixed.

    Raises:
        ValueError: timm is not installed, or has no such model.
    """
    model = timm_model(name, num_classes=0)
    if hasattr(model, "set_input_size"):
        model = timm_model(name, num_classes=0, img_size=size)
    return model, int(getattr(model, "head_hidden_size", model.num_features))


def timm_model(name: str, **options: Any) -> Any:
    """A timm model, without pretrained weights unless `options` ask for them.

    Raises:
        ValueError: timm is not installed, or has no such model, or it has more than one classifier.
    """
    try:
        import timm
    except ImportError:
        raise ValueError(
            f"{TIMM}{name} needs timm, which is not installed: pip install timm (Graft's extra `timm`)"
        ) from None
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3) or ["resnet18", "vit_tiny_patch16_224"]
        raise ValueError(f"timm has no model {name!r}; similar names: {', '.join(near)}")
    model: Any = timm.create_model(name, **options)
    if not isinstance(model.pretrained_cfg.get("classifier"), str):
        raise ValueError(f"timm's {name!r} does not have a single classifier; use a model with a single head")
    return model


def head_path(backbone: str) -> str:
    """Name, in the whole classifier, of the layer that `build_backbone` removes: `fc`, `heads.head`.

    Raises:
        ValueError: no library has such a model.
    """
    if backbone.startswith(TIMM):
        return str(timm_model(backbone.removeprefix(TIMM)).pretrained_cfg["classifier"])
    name = backbone.removeprefix(TORCHVISION)
    with torch.device("meta"):  # only names are needed
        return last_linear(name, _torchvision_classifier(name, 224))


def takes_grey(body: nn.Module) -> nn.Module:
    """Let a backbone for colour images accept grey ones (B, 1, H, W) too: the same image in every channel.

    A hook does it, not a module, so that the backbone's weights keep their names.
    """
    body.register_forward_pre_hook(_in_colour)
    return body


def _in_colour(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Repeat the single channel without copying it."""
    return (inputs[0].expand(-1, 3, -1, -1),)

"""Foreign state dicts: unwrapped, renamed to our names, and checked, with all mismatches in one message."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from graft.networks.backbones import EFFICIENTNET_LITE0, SMALL, TRANSFORMERS
from graft.networks.efficientnet_lite import from_published
from graft.networks.foreign_bodies import TIMM, TORCHVISION, head_path
from graft.networks.heads import some_of
from graft.networks.network import Description, Network

_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module")
"""Keys under which checkpoints keep the weights."""
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
"""Prefixes that data parallelism, compilation and trainers add to every name."""
_PUBLISHED_LITE0 = "_conv_stem.weight"
_COMMON = ("resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "densenet121", "vit_b_16")
"""Torchvision classifiers with which weights are compared, in addition to those of the same family."""
_BEGUN = ".num_batches_tracked"
"""A counter that older checkpoints lack and that Graft does not use."""


def unwrap(content: object) -> dict[str, Tensor]:
    """The weights in the content of a file, without wrappers and without prefixes that all names share.

    Raises:
        ValueError: it holds no named weights; the message says what it holds.
    """
    while isinstance(content, Mapping) and not any(isinstance(value, Tensor) for value in content.values()):
        inner = [content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
        if not inner:
            names = some_of([str(key) for key in content])
            raise ValueError(f"holds no named weights, but: {names or 'nothing'}")
        content = inner[0]
    if not isinstance(content, Mapping):
        raise ValueError(f"holds a {type(content).__name__}, not named weights")
    state = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    while prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in state)), ""):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def published_lite0(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the published weights of EfficientNet-Lite0, whose normalisation is known."""
    return _PUBLISHED_LITE0 in state


def without_prefix(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights whose names begin with `prefix`, without it; all if it is empty."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


@dataclass(frozen=True)
class Named:
    """Weights under our names (`backbone.…`, `head.…`), with the file's name of each."""

    state: dict[str, Tensor]
    names: dict[str, str]
    """Ours -> the file's."""
    head: str
    """The file's name of the head."""
    is_bare: bool = True
    """Whether the file names the backbone's weights without the prefix `backbone.`."""

    @property
    def classes(self) -> int:
        """Number of classes of the head; 0 if the file has no head."""
        weight = self.state.get("head.weight")
        return len(weight) if weight is not None and weight.ndim else 0

    def theirs(self, name: str) -> str:
        """The file's name of one of our weights, or the name that it would have there."""
        kind, _, rest = name.partition(".")
        return self.names.get(name, f"{self.head}.{rest}" if kind == "head" else rest if self.is_bare else name)


def in_our_names(backbone: str, state: dict[str, Tensor]) -> Named:
    """The weights of a network with that backbone, saved by Graft, torchvision or timm, or the published Lite0.

    Raises:
        ValueError: the library has no such backbone, or the published Lite0 has no such name.
    """
    if backbone == EFFICIENTNET_LITE0 and published_lite0(state):
        ours = from_published(state)
        return Named(ours, dict(zip(ours, state, strict=True)), "_fc", is_bare=False)
    if any(name.startswith("backbone.") for name in state):
        return Named(state, {name: name for name in state}, "head", is_bare=False)
    head = head_path(backbone) if backbone.startswith((TORCHVISION, TIMM)) else "head"
    names = {
        f"head.{name.removeprefix(f'{head}.')}" if name.startswith(f"{head}.") else f"backbone.{name}": name
        for name in state
    }
    return Named({ours: state[theirs] for ours, theirs in names.items()}, names, head)


def load_into(network: Network, named: Named) -> None:
    """Load the weights into the network; a file without a head leaves the head unchanged.

    Raises:
        ValueError: weights are missing, unexpected, of another shape, or not plain numbers; the message lists all of
            them and suggests what would fit.
    """
    wanted = {name: value.shape for name, value in network.own_state().items()}
    if not named.classes:
        wanted = {name: shape for name, shape in wanted.items() if not name.startswith("head.")}
    missing = [name for name in wanted if name not in named.state and not name.endswith(_BEGUN)]
    unexpected = [name for name in named.state if name not in wanted]
    shapes = [name for name in wanted if name in named.state and named.state[name].shape != wanted[name]]
    odd = [name for name in wanted if name in named.state and not _is_plain(named.state[name])]
    if missing or unexpected or shapes or odd:
        backbone = network.description.backbone
        raise ValueError(
            "; ".join(
                [
                    f"the weights do not fit {backbone} with {len(network.description.classes)} classes",
                    *_listed("missing", [named.theirs(name) for name in missing]),
                    *_listed("unexpected", [named.names[name] for name in unexpected]),
                    *_listed("of another shape", [_shapes(named, name, wanted[name]) for name in shapes]),
                    *_listed("complex, sparse or quantised", [named.theirs(name) for name in odd]),
                    *_hints(named, wanted, backbone),
                ]
            )
        )
    network.load_state_dict(named.state, strict=False)


def _is_plain(value: Tensor) -> bool:
    return value.layout == torch.strided and not value.is_quantized and not value.is_complex()


def _listed(what: str, names: list[str]) -> list[str]:
    return [f"{what} ({len(names)}): {some_of(names)}"] if names else []


def _shapes(named: Named, name: str, wanted: torch.Size) -> str:
    return f"{named.theirs(name)} {_times(named.state[name].shape)} instead of {_times(wanted)}"


def _times(shape: torch.Size) -> str:
    return "x".join(map(str, shape)) or "a number"


def _hints(named: Named, wanted: Mapping[str, torch.Size], backbone: str) -> Iterator[str]:
    """Suggest a prefix or an architecture that would fit."""
    theirs = {named.theirs(name): shape for name, shape in wanted.items()}
    given = {named.names[name]: value.shape for name, value in named.state.items()}
    fit = _common(given, theirs)
    prefixes = {
        ".".join(name.split(".")[:depth]) + "." for name in given for depth in (1, 2) if name.count(".") >= depth
    }
    stripped = {
        p: _common({n.removeprefix(p): s for n, s in given.items() if n.startswith(p)}, theirs) for p in prefixes
    }
    best = max(sorted(stripped), key=lambda prefix: stripped[prefix], default="")
    if best and stripped[best] > fit:
        yield f"without the prefix {best!r}, {stripped[best]} of {len(theirs)} would fit: set `prefix: {best}`"
        return
    shares = {name: _common(given, shapes) / max(1, len(given)) for name, shapes in _architectures(backbone)}
    nearest = max(shares, key=lambda name: shares[name])
    if shares[nearest] > max(0.5, fit / max(1, len(given))):
        yield f"{100 * shares[nearest]:.0f} % of them would fit `backbone: {nearest}`"


def _common(given: Mapping[str, torch.Size], wanted: Mapping[str, torch.Size]) -> int:
    return sum(wanted.get(name) == shape for name, shape in given.items())


def _architectures(asked: str) -> Iterator[tuple[str, dict[str, torch.Size]]]:
    """Shapes of the weights of our backbones and of some torchvision classifiers, named as in a file."""
    from torchvision import models

    stem = asked.removeprefix(TORCHVISION)[:5]
    family = [name for name in models.list_models(module=models) if name.startswith(stem) and "regnet" not in name]
    with torch.device("meta"):  # no memory and almost no time
        for name in (*SMALL, *TRANSFORMERS, EFFICIENTNET_LITE0):
            for channels in (1, 3):
                network = Network(Description(name, ("class",), channels, 224, (0.5,) * channels, (0.5,) * channels))
                yield name, {key: value.shape for key, value in network.own_state().items()}
        for name in sorted({*_COMMON, *family} - {"googlenet", "inception_v3"}):
            model = models.get_model(name, weights=None)
            yield f"{TORCHVISION}{name}", {key: value.shape for key, value in model.state_dict().items()}

"""Check whether images, normalised for given weights, resemble the images that the weights were trained on.

Legend: N images, C channels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from graft.data.on_disk import Images
from graft.networks.network import Network, as_read, at_a_time, channels_last

PICTURES = 256
"""Number of images to check."""


@dataclass(frozen=True)
class InputFit:
    """Statistics of images after a network's normalisation."""

    mean: tuple[float, ...]
    """Mean per channel; near 0 if the normalisation suits the images."""
    std: tuple[float, ...]
    """Standard deviation per channel; near 1."""
    spread: float | None
    """Standard deviation of the first convolution's outputs, relative to the one that the batch norm after it was
    trained with; None for a network without one."""

    @property
    def faults(self) -> list[str]:
        """Descriptions of what does not fit; empty if the normalisation looks right."""
        found = []
        if max(abs(value) for value in self.mean) > _FARTHEST_MEAN:
            found.append(f"the normalised mean of a channel is {_most(self.mean):.2f}, expected near 0")
        if self.spread is None and not all(_LEAST_STD <= value <= _MOST_STD for value in self.std):
            found.append(f"the normalised standard deviation of a channel is {_oddest(self.std):.2f}, expected near 1")
        if self.spread is not None and not 1 / _MOST_SPREAD <= self.spread <= _MOST_SPREAD:
            found.append(
                f"the first convolution responds {self.spread:.2f} times as strongly as on the weights' training images"
            )
        return found


_FARTHEST_MEAN = 1.0
_LEAST_STD, _MOST_STD = 0.4, 2.5
_MOST_SPREAD = 1.6
"""EfficientNet-Lite0 has 0.7 to 1.2 with its own normalisation, on photos, art, cartoons and sketches of 32 to 224 px;
1.8 to 2.7 with that of torchvision's weights on all but sketches; 0.4 to 0.6 with unnormalised images in [0, 1]."""


def _most(values: tuple[float, ...]) -> float:
    return max(values, key=abs)


def _oddest(values: tuple[float, ...]) -> float:
    return max(values, key=lambda value: max(value, 1 / max(value, 1e-9)))


@torch.no_grad()
def input_fit(network: Network, pictures: Images) -> InputFit:
    """Check a sample of the images (N, C, H, W), evenly spaced, in evaluation mode; the network stays unchanged."""
    training = network.training
    network.eval()
    some = pictures[torch.linspace(0, len(pictures) - 1, min(PICTURES, len(pictures))).round().long()]
    normalised = (as_read(some) - network.mean.cpu()) / network.std.cpu()
    std, mean = torch.std_mean(normalised.transpose(0, 1).flatten(1), dim=1)
    found = InputFit(tuple(mean.tolist()), tuple(std.tolist()), _spread(network, some))
    network.train(training)
    return found


def _spread(network: Network, pictures: Tensor) -> float | None:
    """Median over channels of the ratio of the standard deviation at the first batch norm to its running one."""
    norm = next((module for module in network.backbone.modules() if isinstance(module, nn.BatchNorm2d)), None)
    if norm is None or norm.running_var is None:
        return None
    sums = torch.zeros(3, norm.num_features, dtype=torch.double)
    for batch in pictures.split(min(32, at_a_time(pictures))):
        values = _what_reaches(norm, network, batch).double().transpose(0, 1).flatten(1).cpu()
        sums += torch.stack([torch.full((len(values),), float(values.shape[1])), values.sum(1), values.square().sum(1)])
    count, total, squares = sums
    variance = squares / count - (total / count) ** 2
    held = norm.running_var.double().cpu() + norm.eps
    return float(((variance + norm.eps) / held).sqrt().median())


class _Reached(Exception):  # noqa: N818  (not an error, but an early exit)
    """Ends a forward pass as soon as the wanted activation is available."""


def _what_reaches(layer: nn.Module, network: Network, batch: Tensor) -> Tensor:
    """A layer's input, for a batch of images (B, C, H, W); later layers are not computed."""
    seen: list[Tensor] = []

    def stop(_: nn.Module, inputs: tuple[Tensor]) -> None:
        seen.append(inputs[0])
        raise _Reached

    hook = layer.register_forward_pre_hook(stop)
    try:
        network.features(channels_last(batch.to(network.mean.device)))
    except _Reached:
        pass
    finally:
        hook.remove()
    return seen[0]

"""Images of a batch mixed with each other; their labels are learned from in the same shares.

Legend: B batch, C channels, H W height and width.
"""

import numpy as np
import torch
from torch import Tensor

from graft.settings import Augmentation


def mix(images: Tensor, how: Augmentation, generator: torch.Generator) -> tuple[Tensor, Tensor, float] | None:
    """Images (B, C, H, W) mixed with those at `order` (B,), and the share of the latter, at most 1/2.

    None where nothing is to be mixed: mixing is off, or these are texts.

    Zhang et al. 2018, 'mixup: Beyond Empirical Risk Minimization'; Yun et al. 2019, 'CutMix: Regularization Strategy to
    Train Strong Classifiers with Localizable Features'. One share per batch, as there.
    """
    if images.ndim != 4 or not (how.mixup or how.cutmix):
        return None
    # torch draws no Beta from a generator of one's own.
    random = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))
    cuts = bool(how.cutmix) and (not how.mixup or random.random() < 0.5)
    alpha = how.cutmix if cuts else how.mixup
    share = float(random.beta(alpha, alpha))
    share = min(share, 1 - share)
    order = torch.randperm(len(images), generator=generator)
    others = images[order.to(images.device)]
    if not cuts:
        return torch.lerp(images, others, share), order, share
    height, width = images.shape[2:]
    high, wide = int(height * share**0.5), int(width * share**0.5)
    top, left = int(random.integers(height - high + 1)), int(random.integers(width - wide + 1))
    mixed = images.clone()
    mixed[:, :, top : top + high, left : left + wide] = others[:, :, top : top + high, left : left + wide]
    return mixed, order, high * wide / (height * width)

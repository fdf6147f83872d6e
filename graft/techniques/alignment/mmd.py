"""Maximum mean discrepancy: the distance between the mean embeddings of two domains in a kernel space.

Legend: B C batches of source and target (2 or more images each), D features.
"""

import torch
from torch import Tensor

from graft.techniques.alignment.base import Alignment, Outputs

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Kernel bandwidths, relative to the mean squared distance."""


class MmdAlignment(Alignment):
    """Multi-kernel MMD of the features (Long et al. 2015, 'Learning Transferable Features with Deep Adaptation
    Networks')."""

    def distance(self, source: Outputs, target: Outputs, progress: float) -> Tensor:
        """Squared MMD of the two batches."""
        del progress
        return mmd(source.features, target.features)


def mmd(source: Tensor, target: Tensor) -> Tensor:
    """Unbiased estimate of the squared MMD of features (B, D) and (C, D); can be slightly negative for equal domains.

    E k(s, s') + E k(t, t') - 2 E k(s, t), over pairs of different images (Gretton et al. 2012, 'A Kernel Two-Sample
    Test', equation 3), with k the mean of Gaussian kernels exp(-d² / (f m)): m is the mean squared distance of all
    pairs, without gradient, and f runs over `FACTORS`.
    """
    both = torch.cat([source, target])
    norms = both.square().sum(dim=1)
    distances = (norms[:, None] + norms - 2 * both @ both.T).clamp_min(0)
    count = len(both)
    mean = (distances.detach().sum() / (count * (count - 1))).clamp_min(1e-12)
    kernel = torch.stack([(-distances / (factor * mean)).exp() for factor in FACTORS]).mean(dim=0)
    size = len(source)
    within = _mean_of_pairs(kernel[:size, :size]) + _mean_of_pairs(kernel[size:, size:])
    return within - 2 * kernel[:size, size:].mean()


def _mean_of_pairs(kernel: Tensor) -> Tensor:
    """Mean of a square matrix off its diagonal."""
    return (kernel.sum() - kernel.diagonal().sum()) / (len(kernel) * (len(kernel) - 1))

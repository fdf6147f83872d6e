"""Correlation alignment: the distance between the covariances of two domains.

Legend: B C batches of source and target (2 or more images each), D features.
"""

from torch import Tensor

from graft.techniques.alignment.base import Alignment, Outputs


class CoralAlignment(Alignment):
    """Distance between the covariances of the features (Sun & Saenko 2016, 'Deep CORAL')."""

    def distance(self, source: Outputs, target: Outputs, progress: float) -> Tensor:
        """CORAL loss of the two batches."""
        del progress
        return coral(source.features, target.features)


def coral(source: Tensor, target: Tensor) -> Tensor:
    """||C_s - C_t||² / (4 D²) in the Frobenius norm, of features (B, D) and (C, D).

    The means of the domains have no effect.
    """
    difference = _covariance(source) - _covariance(target)
    return difference.square().sum() / (4 * source.shape[1] ** 2)


def _covariance(features: Tensor) -> Tensor:
    """(D, D)"""
    centred = features - features.mean(dim=0)
    return centred.T @ centred / (len(features) - 1)

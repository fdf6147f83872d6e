"""Project image features to two dimensions for plotting.

Legend: N images, D features.
"""

import torch
from sklearn.manifold import TSNE
from torch import Tensor

_STEPS = 500
_PERPLEXITY = 30.0


def project(features: Tensor, seed: int) -> Tensor:
    """Features (N, D) -> (N, 2) by t-SNE (van der Maaten & Hinton 2008), initialised with the principal components.

    t-SNE preserves neighbourhoods: clusters are meaningful, but their sizes and the distances between them are not.
    Principal components alone would preserve distances, but overlay ten classes. The cost grows fast: use hundreds of
    images, not thousands (600: about one second).

    Raises:
        ValueError: fewer than four images.
    """
    if len(features) < 4:
        raise ValueError(f"a projection needs at least 4 images, got {len(features)}")
    method = TSNE(
        init=_principal_components(features).numpy(),
        perplexity=min(_PERPLEXITY, (len(features) - 1) / 3),
        max_iter=_STEPS,
        random_state=seed,
        n_jobs=1,
    )
    return torch.from_numpy(method.fit_transform(features.numpy()))


def draw(labels: Tensor, most: int, seed: int) -> Tensor:
    """Sorted indices of at most `most` images, drawn regardless of their labels (N,)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(len(labels), generator=generator)[:most].sort().values


def _principal_components(features: Tensor) -> Tensor:
    """The first two (N, 2), scaled to t-SNE's initial spread (1e-4); features without variance give zeros."""
    centred = features.double() - features.double().mean(dim=0)
    left, sizes, _ = torch.linalg.svd(centred, full_matrices=False)
    found = torch.zeros(len(features), 2, dtype=torch.double)
    kept = min(2, len(sizes))
    found[:, :kept] = left[:, :kept] * sizes[:kept]
    return (found / found[:, 0].std().clamp(min=1e-12) * 1e-4).float()

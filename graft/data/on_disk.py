"""Image sets that are too large for memory: they stay on disk and are read as needed.

Legend: N images, M of them; an image has the shape (…).
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

Read = Callable[[Tensor], Tensor]
"""Reads the images (M, …) at indices (M,) into memory; several threads call it."""

MOST_IN_MEMORY = 1 << 28
"""Largest image set, in bytes, that is kept in memory; larger ones are read batch by batch. A stage may hold four such
sets (source, training, validation, unlabelled), and several stages run at once."""


class OnDisk:
    """Images (N, …) on disk, with the part of a tensor's interface that works without loading all of them.

    Indexing and slicing return a tensor in memory, on `device`. `split` reads ahead: it reads the next part while the
    current one is in use.
    """

    def __init__(
        self, read: Read, shape: tuple[int, ...], rows: Tensor | None = None, device: torch.device | None = None
    ) -> None:
        """The images that `read` reads, of `shape` (N, …): all of them, or those at `rows`."""
        self._read_rows, self._rows = read, torch.arange(shape[0]) if rows is None else rows
        self.device = device or torch.device("cpu")
        """Device of the tensors that are read."""
        self.shape = torch.Size([len(self._rows), *shape[1:]])
        self.ndim = len(shape)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int | slice | Tensor) -> Tensor:
        return self._read(self._rows[index.cpu() if isinstance(index, Tensor) else index])

    def take(self, indices: Tensor) -> "OnDisk":
        """The images at `indices` (M,), in that order; nothing is read yet."""
        return OnDisk(self._read_rows, self.shape, self._rows[indices.cpu()], self.device)

    def to(self, device: torch.device) -> "OnDisk":
        """The same images, to be read to another device."""
        return OnDisk(self._read_rows, self.shape, self._rows, device)

    def split(self, size: int) -> Iterator[Tensor]:
        """Parts of `size` images; the last one may be smaller."""
        return self._ahead(self._rows.split(size))

    def tensor_split(self, parts: int) -> Iterator[Tensor]:
        """`parts` parts, whose sizes differ by one at most."""
        return self._ahead(self._rows.tensor_split(parts))

    def _ahead(self, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        with ThreadPoolExecutor(max_workers=1) as reader:
            waiting = None
            for rows in parts:
                following = reader.submit(self._read, rows)
                if waiting is not None:
                    yield waiting.result()
                waiting = following
            if waiting is not None:
                yield waiting.result()

    def _read(self, rows: Tensor) -> Tensor:
        return self._read_rows(rows.flatten()).view(*rows.shape, *self.shape[1:]).to(self.device)


Images = Tensor | OnDisk
"""Images of a split: in memory, or on disk."""


def fitting(pictures: OnDisk) -> Images:
    """The images in memory, if they fit."""
    size = len(pictures) and len(pictures) * pictures[:1].nbytes
    return pictures if size > MOST_IN_MEMORY else pictures[:]


def taken(images: Images, indices: Tensor) -> Images:
    """The images at `indices` (M,), in that order; in memory, if they fit."""
    return images[indices] if isinstance(images, Tensor) else fitting(images.take(indices))


def in_memory(images: Images) -> Tensor:
    """Features or few images as a tensor; only images can exceed memory."""
    return images[:] if isinstance(images, OnDisk) else images

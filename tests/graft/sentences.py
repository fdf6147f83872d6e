"""Small texts as bytes: a few words tell the class, among others that tell nothing."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from graft.data.inputs import BYTES, PADDING
from graft.data.split import Split

CLASSES = ("bad", "good")
LENGTH = 96
_TELLING = {"bad": ("awful", "boring", "broken"), "good": ("great", "lovely", "superb")}
_OTHERS = ("the", "film", "phone", "dinner", "was", "really", "today", "friends", "said", "place", "our", "and")


def sentences(n: int, *, seed: int = 0) -> list[str]:
    """`n` sentences, the classes in turn."""
    random = np.random.RandomState(seed)
    found = []
    for k in range(n):
        words = [_OTHERS[i] for i in random.randint(0, len(_OTHERS), random.randint(3, 8))]
        words.insert(random.randint(0, len(words)), _TELLING[CLASSES[k % 2]][random.randint(3)])
        found.append(" ".join(words))
    return found


def as_bytes(texts: Sequence[str], length: int = LENGTH) -> Tensor:
    """(N, L) token b + 1 for byte b."""
    found = torch.full((len(texts), length), PADDING, dtype=torch.int32)
    for row, text in enumerate(texts):
        content = list(text.encode()[:length])
        found[row, : len(content)] = torch.tensor(content, dtype=torch.int32) + 1
    return found


def read(n: int, *, seed: int = 0, classes: tuple[str, ...] = CLASSES) -> Split:
    """Sentences with their labels; `classes` may name them otherwise."""
    return Split(as_bytes(sentences(n, seed=seed)), torch.arange(n) % 2, classes, vocabulary=BYTES)

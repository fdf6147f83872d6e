"""Texts as a network reads them: by its own tokenizer, which is stored with its weights as the normalisation is.

Legend: N texts, M of them, L tokens.
"""

from dataclasses import replace
from pathlib import Path

import torch

from graft.data.inputs import BYTES
from graft.data.on_disk import Images
from graft.data.split import Split
from graft.networks.network import Description
from tasks.artifacts.networks import load_description
from tasks.artifacts.splits import load_texts
from tasks.datasets.text.tokenizer import TOKENIZER, byte_tokenizer, encode, load_tokenizer


def as_read_by(network: Path, split: Split, packed: Path) -> Split:
    """The split packed in `packed` as the network in a folder reads it.

    Images are unchanged, and so are texts if the network has no tokenizer or the same one; for another tokenizer they
    are encoded again, with the number of tokens that the network takes.

    Raises:
        GraftError: the tokenizer or the original texts cannot be read.
    """
    tokenizer = network / TOKENIZER
    if not (split.vocabulary and tokenizer.is_file()):
        return split
    description = load_description(network)
    return replace(split, images=tokens(description, tokenizer, split, packed), vocabulary=description.vocabulary)


def tokens(
    description: Description, tokenizer: Path, split: Split, packed: Path, places: torch.Tensor | None = None
) -> Images:
    """The texts of a packed split, all (N, L) or those at `places` (M,), encoded with a network's tokenizer.

    Raises:
        GraftError: the tokenizer or the original texts cannot be read.
    """
    own = tokenizer.is_file() and tokenizer.read_bytes() == (packed / TOKENIZER).read_bytes()
    if own and description.reads == split.reads:
        return split.images if places is None else split.images[places]
    texts = load_texts(packed) or []
    chosen = texts if places is None else [texts[place] for place in places.tolist()]
    return torch.from_numpy(encode(load_tokenizer(tokenizer), chosen, description.length)[0])


def as_bytes(split: Split, packed: Path, most: int) -> Split:
    """The split packed in `packed`, its texts as bytes, of each text at most so many; images are unchanged.

    Raises:
        GraftError: the original texts cannot be read.
    """
    if not split.vocabulary:
        return split
    found = encode(byte_tokenizer(), load_texts(packed) or [], most)[0]
    return replace(split, images=torch.from_numpy(found), vocabulary=BYTES)


def tokenizer_of(network: Path, packed: Path) -> bytes | None:
    """The content of the tokenizer's file: that of the network in a folder, or that of the packed texts if the network
    has none; None if both are for images."""
    files = (network / TOKENIZER, packed / TOKENIZER)
    return next((file.read_bytes() for file in files if file.is_file()), None)

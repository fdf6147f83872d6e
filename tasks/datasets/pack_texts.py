"""Packed texts: their tokens, the tokenizer that made them, and the original texts.

Legend: N texts, L tokens, K classes.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median_low

import numpy as np

from graft.data.inputs import BYTES
from tasks.common.files import write_json
from tasks.datasets.card_file import TextNumbers
from tasks.datasets.check import Part
from tasks.datasets.text.digest import shortened
from tasks.datasets.text.tokenizer import RAW, TOKENIZER, encode, train_tokenizer
from tasks.settings.prepare import PrepareSettings

_EXAMPLES = 3


def pack_texts(folder: Path, parts: Mapping[str, Part], settings: PrepareSettings) -> dict[str, TextNumbers]:
    """Write the tokens, the tokenizer and the texts of every part of texts into `folder`/PART; returns the data card's
    entry per part.

    All parts share one tokenizer. It is trained on the target's training texts and on the source's, since a network
    that is transferred has to know the tokens of both; never on a test text.
    """
    learned = [text for name in ("pool", "source") if name in parts for text in parts[name].texts or ()]
    if not learned:
        return {}
    size = BYTES if settings.text_tokens == "bytes" else settings.text_vocabulary
    words, lowercase = settings.text_tokens == "words", settings.text_lowercase
    tokenizer = train_tokenizer(learned, size, lowercase=lowercase, words=words)
    entries = {}
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch, TOKENIZER)
        tokenizer.save(str(made))
        for name, part in parts.items():
            if part.texts is None:
                continue
            place = folder / name
            place.mkdir(exist_ok=True)
            tokens, counts = encode(tokenizer, part.texts, settings.text_length)
            np.save(place / "tokens.npy", tokens, allow_pickle=False)
            shutil.copyfile(made, place / TOKENIZER)
            write_json(place / RAW, part.texts)
            if part.texts:
                entries[name] = _numbers(part, counts, tokenizer.get_vocab_size(), settings)
    return entries


def _numbers(part: Part, counts: np.ndarray, vocabulary: int, settings: PrepareSettings) -> TextNumbers:
    return TextNumbers(
        tokens=_range(counts.tolist()),
        characters=_range(part.sizes[:, 0].tolist()),
        cut=int((counts > settings.text_length).sum()),
        length=settings.text_length,
        vocabulary=vocabulary,
        token_kind=settings.text_tokens,
        lowercase=settings.text_lowercase,
        examples={name: examples(part.texts or [], part.labels, k) for k, name in enumerate(part.domain.classes)},
    )


def _range(values: Sequence[int]) -> tuple[int, int, int]:
    """The least, the median and the most."""
    return min(values), median_low(values), max(values)


def examples(texts: Sequence[str], labels: np.ndarray, label: int, most: int = _EXAMPLES) -> tuple[str, ...]:
    """A few texts of a class, sampled evenly, the long ones shortened."""
    members = np.flatnonzero(labels == label)
    shown = min(most, len(members))
    return tuple(shortened(texts[members[k * len(members) // shown]]) for k in range(shown))

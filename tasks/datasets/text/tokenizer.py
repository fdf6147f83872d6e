"""Texts as tokens: a byte-level BPE, bytes or words, in the file format of the library `tokenizers`.

Sennrich, Haddow & Birch 2016, 'Neural Machine Translation of Rare Words with Subword Units', over bytes (Radford et al.
2019), so that no text has an unknown token. Token 0 is padding.

Legend: N texts, L tokens.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graft.data.inputs import PADDING
from tasks.common.errors import GraftError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER = "tokenizer.json"
"""The tokenizer's file, next to packed texts and next to the weights of a network for texts."""

RAW = "texts.json"
"""The original texts of a packed split."""

_PAD, _UNKNOWN = "<pad>", "<unknown>"
_AT_A_TIME = 4096
"""Texts encoded at a time: the library's result takes a hundred times the memory of a text."""


def train_tokenizer(
    texts: Iterable[str], vocabulary: int, *, lowercase: bool = True, words: bool = False
) -> "Tokenizer":
    """A tokenizer with at most `vocabulary` tokens, trained on `texts`; with `BYTES` of them each token is a byte.

    The same texts give the same tokenizer. With `lowercase` it ignores case; with `words` a token is a word or a run
    of punctuation, and one token stands for all that are not among the most frequent.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    made_small = [normalizers.Lowercase()] if lowercase else []
    normalizer = normalizers.Sequence([normalizers.NFC(), *made_small])
    if words:
        tokenizer = Tokenizer(models.WordLevel(unk_token=_UNKNOWN))
        tokenizer.normalizer = normalizer
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        special = [_PAD, _UNKNOWN]
        of_words = trainers.WordLevelTrainer(vocab_size=vocabulary, special_tokens=special, show_progress=False)
        tokenizer.train_from_iterator(texts, of_words)
        assert tokenizer.token_to_id(_PAD) == PADDING
        return _reading_names_as_text(tokenizer)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[_PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    assert tokenizer.token_to_id(_PAD) == PADDING
    return _reading_names_as_text(tokenizer)


def byte_tokenizer() -> "Tokenizer":
    """A tokenizer that learns nothing: token b + 1 is byte b of the text in lower case, with single spaces."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    vocabulary = {_PAD: PADDING} | {character: byte + 1 for byte, character in enumerate(_characters_of_bytes())}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    spaces = normalizers.Replace(Regex(r"\s+"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase(), spaces])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _reading_names_as_text(tokenizer)


def _characters_of_bytes() -> list[str]:
    """The character by which the library writes each byte (Radford et al. 2019): itself if it can be seen."""
    seen = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in seen else next(others)) for byte in range(256)]


def _reading_names_as_text(tokenizer: "Tokenizer") -> "Tokenizer":
    """The tokenizer, to which a text that holds the name of a special token is text; its file does not say so."""
    tokenizer.encode_special_tokens = True
    return tokenizer


def encode(tokenizer: "Tokenizer", texts: Sequence[str], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Texts as (N, L) int32, L = `length`, cut at the end or padded; and the number of tokens (N,) of each before
    cutting."""
    tokens = np.full((len(texts), length), PADDING, dtype=np.int32)
    counts = np.zeros(len(texts), dtype=np.int64)
    for start in range(0, len(texts), _AT_A_TIME):
        found = tokenizer.encode_batch(list(texts[start : start + _AT_A_TIME]), add_special_tokens=False)
        for row, encoded in enumerate(found, start):
            ids = encoded.ids
            counts[row] = len(ids)
            tokens[row, : min(len(ids), length)] = ids[:length]
    return tokens, counts


def load_tokenizer(path: Path) -> "Tokenizer":
    """Read a tokenizer that `Tokenizer.save` wrote.

    Raises:
        GraftError: the file does not exist or is damaged.
    """
    from tokenizers import Tokenizer

    try:
        return _reading_names_as_text(Tokenizer.from_file(str(path)))
    except Exception as error:  # the library raises nothing narrower
        raise GraftError(f"{path}: not a tokenizer that can be read: {error}") from None


def vocabulary_size(path: Path) -> int:
    """Number of tokens of the tokenizer in a file, read without the library, which is slow to import.

    Raises:
        ValueError: it is not a tokenizer's file.
        OSError: it cannot be read.
    """
    try:
        return int(max(json.loads(path.read_text(encoding="utf-8"))["model"]["vocab"].values())) + 1
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name} is not a tokenizer's file: {error!r}") from None

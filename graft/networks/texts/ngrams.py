"""Texts as n-grams of words and characters, weighted by tf-idf: a body that is a linear model of what a text contains.

N-grams are found without a vocabulary: each is hashed into one table (Weinberger et al. 2009, 'Feature Hashing for
Large Scale Multitask Learning'), so a network needs no more than its weights to read a new text.

Legend: B texts, L bytes, C characters, M n-grams, D buckets, F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graft.data.inputs import BYTES, PADDING, Text

NGRAMS = "ngrams:"
"""Prefix of names of backbones: `ngrams:2` has two features."""
BUCKETS = 2**17
"""Two n-grams of a few thousand short texts rarely meet in one bucket. The upper half is for those of words."""
_SIZES = (2, 3, 4, 5)
"""Characters of an n-gram."""
_SPACE, _ZERO = 32, 48
_MIXED = 0x9E3779B97F4A7C15 - 2**64
_FINAL = 0xC2B2AE3D27D4EB4F - 2**64
_BASE = 1_000_003
"""Odd, so that it has an inverse modulo 2^64."""
_PUNCTUATION = tuple(first | second << 8 for first, second in ((0xE2, 0x80), (0xE2, 0x81), (0xE3, 0x80)))
"""The first two bytes of quotation marks, dashes and such beyond ASCII."""


@dataclass(frozen=True)
class Counts:
    """How often each n-gram occurs in each text, in the order of the texts and then of the buckets.

    Attributes:
        rows: (M,) the place of the text.
        buckets: (M,) from 0 to D - 1.
        times: (M,) float, at least 1.
        texts: B.
    """

    rows: Tensor
    buckets: Tensor
    times: Tensor
    texts: int


class Ngrams(nn.Module):
    """(B, L) -> (B, F): the sum over a text's n-grams of a vector for each, weighted by tf-idf.

    The weight of an n-gram that occurs n times is (1 + log n) idf; the weights of a text have length 1 (Salton &
    Buckley 1988, 'Term-weighting approaches in automatic text retrieval'). The n-grams are words, pairs of neighbouring
    words, words with digits once more with 0 for each, and runs of 2 to 5 characters within what white space separates,
    with a space at either end. The body reads bytes, token b + 1 for byte b, of lower-case UTF-8.
    """

    idf: Tensor

    def __init__(self, read: Text, features: int) -> None:
        super().__init__()
        self.feature_size = features
        if read.vocabulary != BYTES:
            raise ValueError(f"backbone {NGRAMS}{features} reads bytes ({BYTES} tokens), not {read.vocabulary} tokens")
        self.vectors = nn.EmbeddingBag(BUCKETS, features, mode="sum")
        nn.init.normal_(self.vectors.weight, std=0.01)
        self.register_buffer("idf", torch.ones(BUCKETS))

    def forward(self, tokens: Tensor) -> Tensor:
        """The features."""
        found = self.weighted(ngrams(tokens))
        starts = torch.searchsorted(found.rows, torch.arange(found.texts, device=tokens.device))
        summed: Tensor = self.vectors(found.buckets, starts, per_sample_weights=found.times)
        return summed

    def weighted(self, counts: Counts) -> Counts:
        """The n-grams with their weights in place of their numbers; without those that weigh nothing."""
        known = self.idf[counts.buckets] > 0
        rows, buckets, times = counts.rows[known], counts.buckets[known], counts.times[known]
        weights = (1 + times.log()) * self.idf[buckets]
        # Half the square of the length for words and half for characters, of which a text has more.
        kind = 2 * rows + (buckets >= BUCKETS // 2)  # ascending, as buckets are within a row
        starts = torch.searchsorted(kind, torch.arange(2 * counts.texts, device=kind.device))
        places = torch.arange(len(kind), device=kind.device)
        # A sum over bags has one order on every device, unlike `index_add`.
        squares = F.embedding_bag(places, weights.square()[:, None], starts, mode="sum").flatten()
        both = (squares.view(-1, 2) > 0).sum(dim=1).clamp_min(1)
        lengths = (squares * both.repeat_interleave(2)).sqrt()
        return Counts(rows, buckets, weights / lengths[kind], counts.texts)


def ngrams_body(read: Text, features: str) -> Ngrams:
    """The body of the name `ngrams:FEATURES`.

    Raises:
        ValueError: that is not a number above zero, or `read` is not bytes.
    """
    if not features.isdecimal() or not int(features):
        raise ValueError(f"backbone '{NGRAMS}{features}' is not valid; valid: {NGRAMS} and a number, as in {NGRAMS}2")
    return Ngrams(read, int(features))


def ngrams(tokens: Tensor) -> Counts:
    """The n-grams of texts (B, L) of bytes."""
    codes = _characters(tokens)
    size, device = len(tokens), tokens.device
    powers, inverses = (_powers(base, codes.shape[1] + 1, device) for base in (_BASE, pow(_BASE, -1, 2**64)))
    sums, shapes = ((some * powers[:-1]).cumsum(dim=1) for some in (codes, torch.where(_digits(codes), _ZERO, codes)))
    sums, shapes = (F.pad(some, (1, 0)) for some in (sums, shapes))  # (B, C + 1), modulo 2^64
    found = [_of_words(codes, sums, shapes, inverses), *(_of_characters(codes, sums, inverses, n) for n in _SIZES)]
    rows, buckets = (torch.cat(parts) for parts in zip(*found, strict=True))
    keys, times = torch.unique(rows * BUCKETS + buckets, return_counts=True)
    return Counts(keys // BUCKETS, keys % BUCKETS, times.float(), size)


def joined(parts: Sequence[Counts]) -> Counts:
    """The n-grams of several batches of texts, one batch after another."""
    before = [sum(part.texts for part in parts[:place]) for place in range(len(parts) + 1)]
    return Counts(
        torch.cat([part.rows + start for part, start in zip(parts, before, strict=False)]),
        torch.cat([part.buckets for part in parts]),
        torch.cat([part.times for part in parts]),
        before[-1],
    )


def _characters(tokens: Tensor) -> Tensor:
    """(B, L) -> (B, C): a number for each character, the first one a space and another after the last; then 0."""
    longest = int((tokens != PADDING).sum(dim=1).max()) if tokens.numel() else 0
    codes = tokens[:, :longest].long() - 1
    following = [F.pad(codes, (0, shift), value=-1)[:, shift:] for shift in (1, 2, 3)]
    continues = torch.ones_like(codes, dtype=torch.bool)
    numbers = codes.clone()
    for place, byte in enumerate(following, start=1):
        continues = continues & ((byte & 0xC0) == 0x80) & (byte >= 0)
        numbers = numbers | torch.where(continues, byte << (8 * place), 0)
    leads = (codes >= 0) & ((codes & 0xC0) != 0x80)
    count = leads.sum(dim=1, keepdim=True)
    places = torch.where(leads, leads.cumsum(dim=1), 0)  # all others are written to the first place, then overwritten
    found = codes.new_zeros(len(codes), longest + 2).scatter(1, places, numbers)
    found = found.scatter(1, count + 1, _SPACE)
    found[:, 0] = _SPACE
    return torch.where((found > 0) & (found < _SPACE), _SPACE, found)


def _powers(base: int, count: int, device: torch.device) -> Tensor:
    """(C,) base^0, base^1, … modulo 2^64."""
    factors = torch.full((count,), base - 2**64 if base >= 2**63 else base, dtype=torch.long, device=device)
    factors[0] = 1
    return factors.cumprod(dim=0)


def _of_characters(codes: Tensor, sums: Tensor, inverses: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Rows and buckets of the runs of `size` characters with white space at either end at most."""
    width = codes.shape[1] - size + 1
    if width < 1:
        return codes.new_zeros(0), codes.new_zeros(0)
    space = (codes == _SPACE).long()
    spaces = F.pad(space.cumsum(dim=1), (1, 0))
    inside = spaces[:, size - 1 : size - 1 + width] - spaces[:, 1 : 1 + width]
    ends = space[:, :width] + space[:, size - 1 :]
    rows, starts = ((inside == 0) & (ends < size) & (codes[:, size - 1 :] > 0)).nonzero(as_tuple=True)
    hashes = (sums[rows, starts + size] - sums[rows, starts]) * inverses[starts]
    return rows, _bucket(hashes)


def _of_words(codes: Tensor, sums: Tensor, shapes: Tensor, inverses: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and buckets of the words, of the pairs of neighbours, and of words with digits once more by their shape."""
    letters = _letters(codes)
    before, after = F.pad(letters, (1, 0))[:, :-1], F.pad(letters, (0, 1))[:, 1:]
    rows, starts = (letters & ~before).nonzero(as_tuple=True)
    _, ends = (letters & ~after).nonzero(as_tuple=True)  # in the same order: a word starts and ends once
    hashes, shaped = ((some[rows, ends + 1] - some[rows, starts]) * inverses[starts] for some in (sums, shapes))
    numbers = hashes != shaped
    neighbours = rows[1:] == rows[:-1]
    pairs = (_mix(hashes[:-1]) + hashes[1:] * _MIXED)[neighbours]
    buckets = torch.cat([_bucket(hashes), _bucket(pairs), _bucket(_mix(shaped[numbers]))]) + BUCKETS // 2
    return torch.cat([rows, rows[1:][neighbours], rows[numbers]]), buckets


def _letters(codes: Tensor) -> Tensor:
    """(B, C) whether a character belongs to a word: letters, digits, underscores, and most beyond ASCII."""
    lower, upper = (codes >= 97) & (codes <= 122), (codes >= 65) & (codes <= 90)
    beyond = codes >= 128
    for pair in _PUNCTUATION:
        beyond = beyond & ((codes & 0xFFFF) != pair)
    return lower | upper | _digits(codes) | beyond | (codes == 95)


def _digits(codes: Tensor) -> Tensor:
    return (codes >= _ZERO) & (codes <= _ZERO + 9)


def _bucket(hashes: Tensor) -> Tensor:
    """From 0 to D / 2 - 1."""
    return _mix(hashes) & (BUCKETS // 2 - 1)


def _mix(hashes: Tensor) -> Tensor:
    """Spread the bits of hashes modulo 2^64 (the end of MurmurHash3)."""
    for factor in (_MIXED, _FINAL):
        hashes = (hashes ^ ((hashes >> 33) & (2**31 - 1))) * factor
    return hashes ^ ((hashes >> 33) & (2**31 - 1))

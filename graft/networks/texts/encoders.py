"""Encoders of texts that others trained: BERT and its like, and tables of word vectors.

Their features are the mean over a text's tokens, scaled to root mean square 1, so that a cosine is a mean of products
(Reimers & Gurevych 2019, 'Sentence-BERT').

Legend: B texts, T tokens, D width.
"""

import math
from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graft.data.inputs import PADDING, Text
from graft.networks.transformer import Attention, mean_of_tokens

BERT = "bert:"
"""Prefix of names of backbones: `bert:6-384-12-1536` has 6 blocks of width 384, 12 heads and 1536 hidden units; with
`-cls` at the end its feature is the first token's instead of the mean."""
WORD_VECTORS = "word_vectors:"
"""Prefix of names of backbones: `word_vectors:256` has vectors of 256 numbers."""
ENDS = 2
"""Tokens that BERT has around a text."""
_AT_ONCE = 32
"""Texts encoded at once where nothing is learned: sorted by length, so that little is spent on padding."""
_IGNORED = ("pooler.", "cls.", "embeddings.position_ids")


class Bert(nn.Module):
    """(B, T) -> (B, D): Devlin et al. 2019, 'BERT: Pre-training of Deep Bidirectional Transformers'.

    The tokens are those of the text alone; the body puts the two `ends` around them, of which it knows the numbers.
    """

    ends: Tensor

    def __init__(self, read: Text, depth: int, width: int, heads: int, hidden: int, *, first: bool = False) -> None:
        super().__init__()
        self.feature_size, self._first = width, first
        self.tokens = nn.Embedding(read.vocabulary, width, padding_idx=PADDING)
        self.positions = nn.Embedding(read.length + ENDS, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.blocks = nn.ModuleList(PostNormBlock(width, heads, hidden) for _ in range(depth))
        self.register_buffer("ends", torch.arange(1, 1 + ENDS))

    def forward(self, tokens: Tensor) -> Tensor:
        """The features."""
        if torch.is_grad_enabled():
            return self._encoded(tokens)
        order = (tokens != PADDING).sum(dim=1).argsort(stable=True)
        found = torch.cat([self._encoded(tokens[some]) for some in order.split(_AT_ONCE)])
        return found[order.argsort()]

    def _encoded(self, tokens: Tensor) -> Tensor:
        ids, present = self._with_ends(tokens.long())
        found = self.norm(self.tokens(ids) + self.positions.weight[: ids.shape[1]])
        for block in self.blocks:
            found = block(found, present[:, None, None, :])
        return _to_unit_scale(found[:, 0] if self._first else mean_of_tokens(found, present))

    def _with_ends(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, T + 2) from the first end to the second, then padding; and where there is none."""
        lengths = (tokens != PADDING).sum(dim=1, keepdim=True)
        longest = int(lengths.max()) if len(tokens) else 0
        ids = F.pad(tokens[:, :longest], (1, 1), value=PADDING)
        ids[:, 0] = self.ends[0]
        ids = ids.scatter(1, lengths + 1, self.ends[1].expand(len(ids), 1))
        return ids, torch.arange(longest + ENDS, device=ids.device) < lengths + ENDS


class PostNormBlock(nn.Module):
    """Self-attention, then a two-layer MLP per token, each with a residual connection and a norm after it."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.norm_between = nn.LayerNorm(width, eps=1e-12)
        self.widen = nn.Linear(width, hidden)
        self.narrow = nn.Linear(hidden, width)
        self.norm_after = nn.LayerNorm(width, eps=1e-12)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D); `mask` (B, 1, 1, T) is false for tokens that attention ignores."""
        tokens = self.norm_between(tokens + self.attention(tokens, mask))
        return cast(Tensor, self.norm_after(tokens + self.narrow(F.gelu(self.widen(tokens)))))


class WordVectors(nn.Module):
    """(B, T) -> (B, D): the mean of a fixed vector for each token, whatever its neighbours are."""

    def __init__(self, read: Text, width: int) -> None:
        super().__init__()
        self.feature_size = width
        self.tokens = nn.EmbeddingBag(read.vocabulary, width, mode="mean", padding_idx=PADDING)

    def forward(self, tokens: Tensor) -> Tensor:
        """The features; zero for a text without tokens."""
        return _to_unit_scale(self.tokens(tokens.long()))


def bert_body(read: Text, shape: str) -> Bert:
    """The body of the name `bert:SHAPE`.

    Raises:
        ValueError: the shape is not valid.
    """
    numbers = shape.removesuffix("-cls").split("-")
    if len(numbers) != 4 or not all(each.isdecimal() and int(each) for each in numbers):
        raise ValueError(f"backbone '{BERT}{shape}' is not valid; valid: {BERT}BLOCKS-WIDTH-HEADS-HIDDEN[-cls]")
    depth, width, heads, hidden = map(int, numbers)
    if width % heads:
        raise ValueError(f"backbone '{BERT}{shape}': its width {width} is not a multiple of its {heads} heads")
    return Bert(read, depth, width, heads, hidden, first=shape.endswith("-cls"))


def word_vectors_body(read: Text, width: str) -> WordVectors:
    """The body of the name `word_vectors:WIDTH`.

    Raises:
        ValueError: the width is not a number above zero.
    """
    if not width.isdecimal() or not int(width):
        raise ValueError(f"backbone '{WORD_VECTORS}{width}' is not valid; valid: {WORD_VECTORS} and a number")
    return WordVectors(read, int(width))


def bert_weights(state: Mapping[str, Tensor], length: int) -> dict[str, Tensor]:
    """The published weights of a BERT under the names of `Bert`, for texts of `length` tokens; without what only its
    pretraining used. Names that are not known stay what they are.

    Raises:
        ValueError: weights are missing.
    """
    given = {name.removeprefix("bert."): value for name, value in state.items()}
    given = {name: value for name, value in given.items() if not name.startswith(_IGNORED)}
    try:
        # One text is all of the first kind: its vector is the same everywhere.
        kind = given.pop("embeddings.token_type_embeddings.weight")[0]
        positions = given.pop("embeddings.position_embeddings.weight")[: length + ENDS] + kind
        found = {"positions.weight": positions, "tokens.weight": given.pop("embeddings.word_embeddings.weight")}
        for block in {name.split(".")[2] for name in given if name.startswith("encoder.layer.")}:
            for part in ("weight", "bias"):
                parts = [f"encoder.layer.{block}.attention.self.{name}.{part}" for name in ("query", "key", "value")]
                joined = torch.cat([given.pop(name) for name in parts])
                found[f"blocks.{block}.attention.query_key_value.{part}"] = joined
    except KeyError as error:
        raise ValueError(f"the weights have no {error.args[0]}, so they are not those of a BERT") from None
    return found | {_our_name(name): value for name, value in given.items()}


def _our_name(name: str) -> str:
    for theirs, ours in (
        ("embeddings.LayerNorm.", "norm."),
        ("encoder.layer.", "blocks."),
        (".attention.output.dense.", ".attention.out."),
        (".attention.output.LayerNorm.", ".norm_between."),
        (".intermediate.dense.", ".widen."),
        (".output.dense.", ".narrow."),
        (".output.LayerNorm.", ".norm_after."),
    ):
        name = name.replace(theirs, ours)
    return name


def _to_unit_scale(features: Tensor) -> Tensor:
    """(B, D), each row scaled to root mean square 1; a row of zeros stays zero."""
    return F.normalize(features, dim=1) * math.sqrt(features.shape[1])

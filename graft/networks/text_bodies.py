"""Backbones for texts only: small, fast, and hard to beat where texts are few and short.

Legend: B batch, T tokens, D width of an embedding.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graft.data.inputs import PADDING, Text
from graft.networks.transformer import presence

_BUCKETS = 2**15
_PRIME = 1_000_003


class TextBag(nn.Module):
    """(B, T) -> (B, D): a bag of the embeddings of all tokens and of all pairs of neighbours (bigrams).

    Joulin et al. 2017, 'Bag of Tricks for Efficient Text Classification'. Bigrams are hashed into a table of 32,768
    vectors. Unlike there, the sum is divided by the square root of the number of tokens, not by that number, so that
    one informative word does not vanish in a long text; and vectors are initialised near zero, so that tokens that
    never occurred in training, of which another domain has many, have almost no effect.
    """

    def __init__(self, read: Text, width: int = 64) -> None:
        super().__init__()
        self.feature_size = width
        self.tokens = nn.Embedding(read.vocabulary, width, padding_idx=PADDING)
        self.pairs = nn.Embedding(_BUCKETS, width)
        for table in (self.tokens, self.pairs):
            nn.init.normal_(table.weight, std=0.01)
        with torch.no_grad():
            self.tokens.weight[PADDING].zero_()

    def forward(self, tokens: Tensor) -> Tensor:
        """Features."""
        tokens = tokens.long()
        present = cast(Tensor, presence(tokens))
        first, second = tokens[:, :-1], tokens[:, 1:]
        together = present[:, :-1] & (second != PADDING)
        pairs = self.pairs((first * _PRIME + second) % _BUCKETS) * together[..., None]
        of_tokens = self.tokens(tokens) * present[..., None]
        found: Tensor = (of_tokens.sum(dim=1) + pairs.sum(dim=1)) / present.sum(dim=1, keepdim=True).sqrt()
        return found


class TextConvnet(nn.Module):
    """(B, T) -> (B, 3 D): the maximum response over the text of each filter of 2, 3 and 4 tokens.

    Kim 2014, 'Convolutional Neural Networks for Sentence Classification'.
    """

    def __init__(self, read: Text, width: int = 96) -> None:
        super().__init__()
        self.feature_size = 3 * width
        self.tokens = nn.Embedding(read.vocabulary, width, padding_idx=PADDING)
        nn.init.normal_(self.tokens.weight, std=0.1)
        with torch.no_grad():
            self.tokens.weight[PADDING].zero_()
        self.filters = nn.ModuleList(nn.Conv1d(width, width, size, padding=size - 1) for size in (2, 3, 4))

    def forward(self, tokens: Tensor) -> Tensor:
        """Features."""
        embedded = self.tokens(tokens.long()).transpose(1, 2)
        return torch.cat([F.relu(each(embedded)).amax(dim=2) for each in self.filters], dim=1)

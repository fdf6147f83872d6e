"""A small transformer that reads images as patches, or texts as tokens; its blocks are the same for both.

Dosovitskiy et al. 2021, 'An Image is Worth 16x16 Words', with the mean over all tokens instead of a class token (Zhai
et al. 2022, 'Scaling Vision Transformers') and pre-layer normalisation (Xiong et al. 2020, 'On Layer Normalization in
the Transformer Architecture').

Legend: B batch, C channels, H W height and width, T tokens, D width.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graft.data.inputs import PADDING, Input, Pictures, Text

_PATCHES = 8
"""Patches per side, so that an image of any size becomes about 64 tokens."""


class Transformer(nn.Module):
    """Embedding, blocks, mean over tokens: (B, C, H, W) or (B, T) -> (B, D).

    Only `embedding` depends on the input; `blocks` and `norm` can be transferred from images to texts.
    """

    def __init__(self, read: Input, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.embedding = _embedding(read, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, read: Tensor) -> Tensor:
        """The mean over all tokens except padding."""
        tokens = self.embedding(read)
        present = presence(read)
        mask = None if present is None else present[:, None, None, :]
        for block in self.blocks:
            tokens = block(tokens, mask)
        return mean_of_tokens(self.norm(tokens), present)


def presence(read: Tensor) -> Tensor | None:
    """A mask (B, T) of the tokens that are not padding; None for images, which have none.

    The first token always counts, so that a text of padding only still has a token.
    """
    if read.ndim != 2:
        return None
    present = read != PADDING
    present[:, 0] = True
    return present


def mean_of_tokens(tokens: Tensor, present: Tensor | None) -> Tensor:
    """(B, T, D) -> (B, D): the mean over the tokens where `present` (B, T) is true."""
    if present is None:
        return tokens.mean(dim=1)
    share = present.to(tokens.dtype) / present.sum(dim=1, keepdim=True)
    return (tokens * share[..., None]).sum(dim=1)


class Block(nn.Module):
    """Self-attention, then a two-layer MLP per token, each with a residual connection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_before = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm_between = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, D) -> (B, T, D); `mask` (B, 1, 1, T) is false for tokens that attention ignores."""
        tokens = tokens + cast(Tensor, self.attention(self.norm_before(tokens), mask))
        return tokens + cast(Tensor, self.narrow(F.gelu(self.widen(self.norm_between(tokens)))))


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, 'Attention Is All You Need')."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        size, count, width = tokens.shape
        parts = self.query_key_value(tokens).view(size, count, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return cast(Tensor, self.out(found.transpose(1, 2).reshape(size, count, width)))


def _embedding(read: Input, width: int) -> nn.Module:
    return PatchEmbedding(read, width) if isinstance(read, Pictures) else TokenEmbedding(read, width)


class PatchEmbedding(nn.Module):
    """(B, C, H, W) -> (B, T, D): a linear map of each patch, plus its position embedding."""

    def __init__(self, read: Pictures, width: int) -> None:
        super().__init__()
        patch = max(1, round(read.size / _PATCHES))
        self.side = read.size // patch
        """Patches per side; leftover pixels at the right and bottom edges are ignored."""
        self.patches = nn.Conv2d(read.channels, width, patch, stride=patch)
        self.positions = nn.Parameter(torch.randn(self.side**2, width) * 0.02)

    def forward(self, pictures: Tensor) -> Tensor:
        """Embed the patches, row by row."""
        return cast(Tensor, self.patches(pictures).flatten(2).transpose(1, 2) + self.positions)


class TokenEmbedding(nn.Module):
    """(B, T) -> (B, T, D): a vector per token of the vocabulary, plus its position embedding."""

    def __init__(self, read: Text, width: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(read.vocabulary, width, padding_idx=PADDING)
        nn.init.normal_(self.tokens.weight, std=0.5)  # torch's 1 would swamp the positions and change slowly
        with torch.no_grad():
            self.tokens.weight[PADDING].zero_()
        self.positions = nn.Parameter(torch.randn(read.length, width) * 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed the tokens, from left to right."""
        return cast(Tensor, self.tokens(tokens.long()) + self.positions[: tokens.shape[1]])

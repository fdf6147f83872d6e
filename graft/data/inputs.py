"""The input of a network: images of one size, or texts as tokens. No torch here."""

from dataclasses import dataclass

PADDING = 0
"""The token that pads shorter texts; networks ignore it."""

BYTES = 256 + 1
"""The smallest vocabulary: every byte, plus padding."""


@dataclass(frozen=True)
class Pictures:
    """Images (B, C, H, W), float in [0, 1] or uint8, of equal height and width."""

    channels: int
    """1 for grey images, 3 for colour."""
    size: int
    """Height and width in pixels."""

    def __str__(self) -> str:
        return f"{'grey' if self.channels == 1 else 'colour'} images of {self.size} px"


@dataclass(frozen=True)
class Text:
    """Texts as tokens (B, L) of integers, padded with `PADDING`."""

    vocabulary: int
    """Number of tokens, including `PADDING`."""
    length: int
    """Tokens per text; longer texts are truncated."""

    def __str__(self) -> str:
        return f"texts of {self.length} tokens"


Input = Pictures | Text

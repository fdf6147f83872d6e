"""What a network takes: images of a size, or texts as tokens. No torch here."""

from dataclasses import dataclass

PADDING = 0
"""The token that fills up a text that is shorter than others; networks do not look at it."""

BYTES = 256 + 1
"""The smallest vocabulary: every byte, and padding."""


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
    """Texts as tokens (B, L) of integers, filled up with `PADDING`."""

    vocabulary: int
    """How many tokens there are, `PADDING` among them."""
    length: int
    """Tokens of a text; longer ones were cut."""

    def __str__(self) -> str:
        return f"texts of {self.length} tokens"


Input = Pictures | Text

"""The content of `build/data/card.json`, the data card, as frozen dataclasses."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from tasks.common.places import CARD
from tasks.common.typed_json import SCHEMA, read_versioned, typed


@dataclass(frozen=True)
class ImageNumbers:
    """Sizes and channel statistics of a part's images."""

    image_size: tuple[int, int]
    """The median height and width before resizing."""
    image_size_min: tuple[int, int]
    image_size_max: tuple[int, int]
    channels: int
    """Number of channels, as packed."""
    mean: tuple[float, ...]
    """Per channel, in [0, 1]."""
    std: tuple[float, ...]


@dataclass(frozen=True)
class TextNumbers:
    """Tokens, lengths and examples of a part's texts."""

    tokens: tuple[int, int, int]
    """Of the shortest, the median and the longest text."""
    characters: tuple[int, int, int]
    cut: int
    """Number of texts longer than `length`."""
    length: int
    """Tokens kept per text."""
    vocabulary: int
    token_kind: Literal["bpe", "words", "bytes"]
    lowercase: bool
    examples: Mapping[str, tuple[str, ...]]
    """A few texts per class."""


@dataclass(frozen=True)
class PartCard:
    """One part of the data: the source, the target's pool, or its test part."""

    n: int
    """Number of images or texts."""
    classes: Mapping[str, int]
    """Number of images or texts per class."""
    duplicates: int
    """Number of images or texts that repeat an earlier one."""
    kind: Literal["images", "texts"]
    path: str
    layout: str
    split: Literal["all", "given", "held out"]
    validation: str
    """How a validation split was used; empty if there was none."""
    ignored_files: int
    """Number of files of the domain that are not data."""
    skipped: tuple[str, ...]
    """The unreadable images or texts that were left out, with the reasons."""
    images: ImageNumbers | None = None
    """None for texts, and for a part without images."""
    texts: TextNumbers | None = None
    """None for images, and for a part without texts."""

    def to_json(self) -> dict[str, Any]:
        """The content of the file: one mapping, whatever the part holds."""
        entry = asdict(self)
        numbers = entry.pop("images"), entry.pop("texts")
        return entry | (numbers[0] or {}) | (numbers[1] or {})

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> Self:
        """The part from what `to_json` returned; raises ValueError if a key is missing or a value has another type."""
        return typed(entry | ({entry["kind"]: entry} if entry["n"] else {}), cls)


@dataclass(frozen=True)
class SharedClasses:
    """The classes in both domains, and those in only one of them."""

    shared: tuple[str, ...]
    source_only: tuple[str, ...]
    target_only: tuple[str, ...]

    @classmethod
    def between(cls, source: Mapping[str, int], target: Mapping[str, int]) -> Self:
        """Compare the classes of two parts."""
        one, other = set(source), set(target)
        return cls(tuple(sorted(one & other)), tuple(sorted(one - other)), tuple(sorted(other - one)))


@dataclass(frozen=True)
class DataCard:
    """The data card: a description of a run's data."""

    VERSION: ClassVar[int] = 1

    data_md5: str
    """DVC's hash of the raw data."""
    domains: Mapping[str, PartCard]
    """The parts by name: source, pool, test."""
    classes: SharedClasses

    @classmethod
    def of(cls, data_md5: str, source: PartCard, pool: PartCard, test: PartCard) -> Self:
        """The card of a run's data, from its parts."""
        shared = SharedClasses.between(source.classes, pool.classes)
        return cls(data_md5, {"source": source, "pool": pool, "test": test}, shared)

    def to_json(self) -> dict[str, Any]:
        """The content of the file."""
        parts = {name: part.to_json() for name, part in self.domains.items()}
        return {SCHEMA: self.VERSION, "data_md5": self.data_md5, "domains": parts, "classes": asdict(self.classes)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The content of the file as a card.

        Raises:
            ValueError: a key is missing, or a value has another type; so does KeyError.
        """
        parts = {name: PartCard.from_json(entry) for name, entry in content["domains"].items()}
        return cls(typed(content["data_md5"], str), parts, typed(content["classes"], SharedClasses))


def read_card(root: Path) -> DataCard:
    """The data card of the project in `root`.

    Raises:
        GraftError: it is missing or damaged, or of another version.
    """
    return read_versioned(root / CARD, DataCard, shown=CARD)

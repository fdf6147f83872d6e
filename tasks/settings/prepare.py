"""Section `prepare` of `params.yaml`: where the data is, and how it is packed."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from graft.data.inputs import BYTES

NO_SOURCE = "none"
"""In place of the source's folder: there are no source images, only given weights."""


@dataclass(frozen=True)
class PrepareSettings:
    """The folders of the two domains, and the form in which their images or texts are packed."""

    source: str = "data/source"
    """Folder of the source domain, inside data/; `none` if there are only given weights."""
    target: str = "data/target"
    """Folder of the target domain, inside data/."""
    source_domain: str = ""
    """The domain to use if the source's folder (or the column `domain` of its table) holds several."""
    target_domain: str = ""
    """The same for the target."""
    source_label_column: str = ""
    """Label column of the source's table, if it is not called label, class or category."""
    target_label_column: str = ""
    """The same for the target."""
    source_text_column: str = ""
    """Text column of the source's table, if it is not called text, sentence, message, review or content."""
    target_text_column: str = ""
    """The same for the target."""
    target_group_column: str = ""
    """Column of groups that are never split between training, validation and test, such as a patient or a video. If
    both domains are rows of one table, no group of the source is in the test split either."""
    source_group_column: str = ""
    """Column of groups that are never split between the source's training and held-out images."""
    class_map: dict[str, str] | str = field(default_factory=dict)
    """Source classes to rename to target classes, SOURCE: TARGET; or the path of a table with the columns source and
    target."""
    on_error: Literal["fail", "skip"] = "fail"
    """What to do with unreadable images or texts: refuse the data, or leave them out and list them in the data card."""
    image_size: Annotated[int, Ge(8), Le(1024)] = 16
    """Height and width of the packed images; an image that is not square is stretched."""
    channels: Literal[1, 3] = 1
    """1 for grey images, 3 for colour."""
    text_tokens: Literal["bpe", "words", "bytes"] = "bpe"
    """Kind of tokens: frequent pieces of words in the training texts, whole words, or bytes. Words suit a `text_bag`
    better, but all words that are not in the vocabulary become one unknown token."""
    text_vocabulary: Annotated[int, Ge(BYTES), Le(65536)] = 4000
    """Maximum number of such pieces, including the 256 bytes and the padding; or of words, the most frequent."""
    text_length: Annotated[int, Ge(4), Le(4096)] = 128
    """Tokens per packed text; longer texts are cut."""
    text_lowercase: bool = True
    """Whether to ignore case, which helps with few texts."""
    test_fraction: Annotated[float, Gt(0.0), Lt(1.0)] = 0.35
    """Share of each class that becomes the test split, if the target has none."""
    seed: Annotated[int, Ge(0), Lt(2**32)] = 0
    """Seed of that test split."""

"""What the prepare stage may vary: the section `prepare` of params.yaml."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from graft.data.inputs import BYTES

NO_SOURCE = "none"
"""Instead of the source's folder: all that is known elsewhere is in given weights."""


@dataclass(frozen=True)
class PrepareSettings:
    """Where the two domains lie, and the form that their images or texts are packed in."""

    source: str = "data/source"
    """Folder of the source domain, inside data/; `none` where given weights are all that is known."""
    target: str = "data/target"
    """Folder of the target domain, inside data/."""
    source_domain: str = ""
    """Which domain, where the source's folder (or the column `domain` of its table) holds several."""
    target_domain: str = ""
    """The same of the target."""
    source_label_column: str = ""
    """Of a table, if it is not called label, class or category."""
    target_label_column: str = ""
    """The same of the target."""
    source_text_column: str = ""
    """Of a table of texts, if it is not called text, sentence, message, review or content."""
    target_text_column: str = ""
    """The same of the target."""
    target_group_column: str = ""
    """Column of what is never divided between training, validation and test, such as a patient or a video. Where both
    domains are rows of one table, none of the source's is tested either."""
    source_group_column: str = ""
    """Column of what is never divided between what the source teaches and what is held out of it."""
    class_map: dict[str, str] | str = field(default_factory=dict)
    """Which class of the source is which of the target, where they are called otherwise: SOURCE: TARGET; or the path of
    a table with the columns source and target."""
    on_error: Literal["fail", "skip"] = "fail"
    """What to do with images or texts that cannot be read: refuse the data, or leave them out and list them in the
    card."""
    image_size: Annotated[int, Ge(8), Le(1024)] = 16
    """Height and width of the packed images; an image that is not square is stretched."""
    channels: Literal[1, 3] = 1
    """1 packs grey images, 3 colour."""
    text_tokens: Literal["bpe", "words", "bytes"] = "bpe"
    """What texts are cut into: pieces of words that are frequent in the training texts, whole words, or bytes. Words
    serve a `text_bag` better; of a word that no training text has, only that it is unknown is left."""
    text_vocabulary: Annotated[int, Ge(BYTES), Le(65536)] = 4000
    """How many such pieces there are at most, the 256 bytes and the padding among them; or words, the most frequent."""
    text_length: Annotated[int, Ge(4), Le(4096)] = 128
    """Tokens of a packed text; what goes beyond is cut off."""
    text_lowercase: bool = True
    """Whether capitals count as small letters, which makes more of few texts."""
    test_fraction: Annotated[float, Gt(0.0), Lt(1.0)] = 0.35
    """Share of each class that becomes the test split, if the target comes without one."""
    seed: Annotated[int, Ge(0), Lt(2**32)] = 0
    """Seed of that split."""

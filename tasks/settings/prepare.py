"""What the prepare stage may vary: the section `prepare` of params.yaml."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt


@dataclass(frozen=True)
class PrepareSettings:
    """Where the two domains lie, and the form that their pictures are packed in."""

    source: str = "data/source"
    """Folder of the source domain, inside data/."""
    target: str = "data/target"
    """Folder of the target domain, inside data/."""
    image_size: Annotated[int, Ge(8), Le(1024)] = 16
    """Height and width of the packed pictures; a picture that is not square is stretched."""
    channels: Literal[1, 3] = 1
    """1 packs grey pictures, 3 colour."""
    test_fraction: Annotated[float, Gt(0.0), Lt(1.0)] = 0.35
    """Share of each class that becomes the test split, if the target comes without one."""
    seed: Annotated[int, Ge(0), Lt(2**32)] = 0
    """Seed of that split."""

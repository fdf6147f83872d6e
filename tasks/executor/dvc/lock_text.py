"""The text of a `dvc.lock`, one block of lines a stage.

DVC reads and writes the whole file again for each stage (a second, with 200 stages), not atomically, and appends new
entries as stages finish. Replacing one block gives the same bytes at once, in whichever order is wanted.
"""

import re
from collections.abc import Collection
from itertools import pairwise

EMPTY = "schema: '2.0'\nstages:\n"
_BLOCK = re.compile(r"^  [^\s#]", re.MULTILINE)
_STAGES = re.compile(r"^stages:(?: \{\})?\n", re.MULTILINE)
_NEXT_SECTION = re.compile(r"^[^\s#]", re.MULTILINE)


def key_line(block: str) -> str:
    """The first line of a block, which names its stage."""
    return block.split("\n", 1)[0]


def key_lines(text: str) -> list[str]:
    """The key lines of all stages in a lock file."""
    return [key_line(block) for block in split(text)[1]]


def put(text: str, block: str, later: Collection[str] = ()) -> str:
    """`text` with `block` in place of the one of the same stage; a new one goes last, but before those of `later`.

    Args:
        text: a `dvc.lock` as DVC's own writer lays it out; empty for a new one.
        block: the lines of one stage, indented by two, with a closing newline.
        later: key lines of stages that come after this one.
    """
    head, blocks, tail = split(text or EMPTY)
    key = key_line(block)
    places = [place for place, other in enumerate(blocks) if key_line(other) == key]
    if places:
        blocks[places[0]] = block
    else:
        followers = (place for place, other in enumerate(blocks) if key_line(other) in later)
        blocks.insert(next(followers, len(blocks)), block)
    return "".join([head, *blocks, tail])


def split(text: str) -> tuple[str, list[str], str]:
    """What stands before the first stage, the stages' blocks, and what stands after the last."""
    heading = _STAGES.search(text)
    if heading is None:
        return f"{text}stages:\n", [], ""
    head = f"{text[: heading.start()]}stages:\n"
    following = _NEXT_SECTION.search(text, heading.end())
    end = following.start() if following else len(text)
    starts = [match.start() for match in _BLOCK.finditer(text, heading.end(), end)]
    head += text[heading.end() : starts[0] if starts else end]
    return head, [text[here:there] for here, there in pairwise([*starts, end])], text[end:]

"""DVC adds a line to `.gitignore` for each new output, as stages finish. Here those lines keep the plan's order."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from tasks.common.files import write_text


class GitIgnores:
    """The lines that one run has added to `.gitignore` files."""

    def __init__(self) -> None:
        self._added: defaultdict[Path, list[tuple[int, list[str]]]] = defaultdict(list)

    def sort(self, ignored: Iterable[str], place: int) -> None:
        """Move the lines just added for the outputs `ignored` of the stage at `place` before those of later stages.

        A file that someone else has appended to meanwhile is left as it is.
        """
        for file, count in Counter(Path(path).parent / ".gitignore" for path in ignored).items():
            lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
            others, new = lines[:-count], lines[-count:]
            added = self._added[file]
            earlier = _flat(added)
            if others[len(others) - len(earlier) :] != earlier:
                added.clear()
                earlier = []
            added.append((place, new))
            added.sort()
            ordered = [*others[: len(others) - len(earlier)], *_flat(added)]
            if ordered != lines:
                write_text(file, "".join(ordered))


def _flat(added: list[tuple[int, list[str]]]) -> list[str]:
    return [line for _, lines in added for line in lines]

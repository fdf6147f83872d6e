"""What DVC's exceptions say, for people: DVC keeps the line of a broken file in a cause, and prints it itself."""

import traceback
from collections.abc import Iterable, Iterator

from tasks.common.places import LOCK

LAST_GOOD_LOCK = f"Take the last good one: git checkout {LOCK}"


def way_out(found: Iterable[str]) -> str:
    """What fixes the problems that `problems` found, where that is known."""
    return LAST_GOOD_LOCK if any(str(LOCK) in problem for problem in found) else ""


def problems(error: BaseException) -> list[str]:
    """All that an exception of DVC names, one problem a string: the file, the key or line, and what is wrong there."""
    invalid = getattr(getattr(error, "exc", None), "errors", None)
    if invalid:  # a file that is YAML, but not of the form that is asked for
        file = str(getattr(error, "path", "")).removeprefix("./")
        return [
            f"{file}: {'.'.join(map(str, each.path)) or 'the whole file'}: {each.error_message}" for each in invalid
        ]
    for cause in _causes(error):
        mark = getattr(cause, "problem_mark", None)
        if mark is not None:  # a file that is not YAML
            place = f"line {mark.line + 1}, column {mark.column + 1}"
            return [f"{str(error).strip()}: {place}: {getattr(cause, 'problem', cause)}"]
    said = str(error).partition("If there are no processes with such PIDs")[0]  # then DVC lets go by itself
    return [" ".join(said.split())]


def is_of_templates(error: BaseException) -> bool:
    """Whether DVC fell over a value while it filled in dvc.yaml; other problems are of dvc.lock and .dvc files."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(str(frame.f_globals.get("__name__")).startswith("dvc.parsing") for frame, _ in frames)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__

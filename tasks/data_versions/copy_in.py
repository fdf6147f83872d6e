"""Copy a user's folder or file into a domain's folder."""

import shutil
from pathlib import Path

from tasks.common.errors import GraftError, of_the_disk
from tasks.datasets.layouts.domain import hidden, split_of


def copy_in(origin: Path, target: Path) -> None:
    """Copy a folder's content, or a file, into the new folder `target`; links are followed, hidden files left out.

    An array file that is not named after a split becomes the training split.

    Raises:
        GraftError: the origin does not exist, contains the project itself or circular links, or a file cannot be read
            or written.
    """
    try:
        _copy_in(origin.expanduser(), target)
    except OSError as error:
        where = error.filename or origin
        raise GraftError(f"{where}: {error.strerror or error}", of_the_disk(error)) from None


def _copy_in(origin: Path, target: Path) -> None:
    if not _exists(origin):
        raise GraftError(f"{origin}: no such file or folder")
    if target.resolve().is_relative_to(origin.resolve()):
        raise GraftError(f"{origin} contains this project itself", "Name a folder that contains only the data.")
    if origin.is_dir():
        _copy_folder(origin, target, (origin.resolve(),))
        return
    _require_file(origin)
    target.mkdir(parents=True)
    stays = origin.suffix != ".npz" or split_of(origin.stem) is not None
    shutil.copy2(origin, target / (origin.name if stays else "train.npz"))


def _copy_folder(origin: Path, target: Path, above: tuple[Path, ...]) -> None:
    target.mkdir(parents=True)
    for entry in sorted(origin.iterdir()):
        if hidden(entry.name):
            continue
        if not _exists(entry):
            raise GraftError(f"{entry}: a link to {entry.readlink()}, which does not exist or points back to the link")
        if not entry.is_dir():
            _require_file(entry)
            shutil.copy2(entry, target / entry.name)
        elif entry.resolve() in above:
            raise GraftError(f"{entry}: a link to a folder that contains it")
        else:
            _copy_folder(entry, target / entry.name, (*above, entry.resolve()))


def _exists(path: Path) -> bool:
    """Whether the path exists after following all links."""
    try:
        path.resolve(strict=True)
    except (FileNotFoundError, NotADirectoryError, RuntimeError, ValueError):  # of a link to itself; of a null byte
        return False
    return True


def _require_file(path: Path) -> None:
    """Refuse devices and pipes: copying one might never end."""
    if not path.is_file():
        raise GraftError(f"{path}: neither a file nor a folder")

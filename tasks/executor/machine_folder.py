"""Where a repository keeps what is of this machine only."""

from pathlib import Path

from tasks.common.errors import GraftError


def state_folder(root: Path) -> Path:
    """The folder that DVC has for that, in the repository around `root`.

    Raises:
        GraftError: there is no DVC repository.
    """
    for folder in (root.resolve(), *root.resolve().parents):
        if (folder / ".dvc").is_dir():
            state = folder / ".dvc/tmp"
            state.mkdir(exist_ok=True)
            return state
    raise GraftError(f"{root}: no DVC repository here or above", "Change into one first, or make one: dvc init")

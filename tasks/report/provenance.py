"""Where a result came from, told by content: no clock, no host, no commit, so that the page's bytes stay the same."""

import hashlib
import platform
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "dvc")


def blob_id(content: bytes) -> str:
    """The name that git gives a file's content; `git log --find-object=ID` finds the commits that brought it."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def code() -> dict[str, str]:
    """Git's name for each project file that this process runs, templates included, by path."""
    modules = [module for name, module in sys.modules.items() if name.split(".")[0] in ("graft", "tasks", "__main__")]
    files = {Path(file).resolve() for module in modules if (file := getattr(module, "__file__", None))}
    files |= set((Path(__file__).resolve().parent / "templates").iterdir())
    own = [path.relative_to(ROOT) for path in files if path.is_relative_to(ROOT)]
    return {
        path.as_posix(): blob_id((ROOT / path).read_bytes())
        for path in sorted(own)
        # Packages' __init__ files hold a docstring alone, and no stage declares them.
        if path.parts[0] in ("graft", "tasks") and path.name != "__init__.py"
    }


def versions() -> dict[str, str]:
    """Python's version and those of the packages that the numbers come from."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}

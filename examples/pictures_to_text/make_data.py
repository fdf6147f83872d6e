"""Collect docstrings of Python libraries; the class of a text is its library.

    python make_data.py

Writes digits/ (the source: images of digits, rendered from fonts) and texts/{train,test}.tsv (the target): the first
paragraph of every public docstring in five installed packages, without the names of the packages. The docstrings of a
file are all in the training split or all in the test split.
"""

import ast
import random
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tasks.common.npz import save_npz
from tasks.datasets.demo.digits import render_digits

PACKAGES = {
    "matplotlib": "plots",
    "pandas": "tables",
    "scipy": "mathematics",
    "sklearn": "learning",
    "torch": "networks",
}
"""Package and name of its class."""
MOST = {"train": 400, "test": 150}
"""Most texts per class."""
NAMES = re.compile(
    r"\b(matplotlib|mpl|plt|pandas|pd|scipy|sklearn|scikit-learn|pytorch|torch|numpy|np)\b", re.IGNORECASE
)


def main() -> None:
    """Write both domains; the result is the same every time with the same packages."""
    shutil.rmtree("texts", ignore_errors=True)
    Path("texts").mkdir()
    found = {name: by_file(package) for package, name in PACKAGES.items()}
    files_with = Counter(text for files in found.values() for some in files for text in some)
    for split, share in (("train", lambda place: place % 3 > 0), ("test", lambda place: place % 3 == 0)):
        rows = []
        for name, files in found.items():
            chosen = [some for place, some in enumerate(files) if share(place)]
            texts = sorted(text for some in chosen for text in some if files_with[text] == 1)
            random.Random(0).shuffle(texts)
            rows += [f"{name}\t{text}\n" for text in texts[: MOST[split]]]
        Path("texts", f"{split}.tsv").write_text("label\ttext\n" + "".join(rows), encoding="utf-8")
    images, labels = render_digits(lambda _line: None)
    Path("digits").mkdir(exist_ok=True)
    save_npz(Path("digits/train.npz"), images=images, labels=labels, class_names=np.array([*"0123456789"]))


def by_file(package: str) -> list[list[str]]:
    """The texts of each public file of a package, read without importing it."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    return [sorted(set(texts_of(path))) for path in sorted(folder.rglob("*.py")) if is_public(path.relative_to(folder))]


def is_public(path: Path) -> bool:
    """Whether a file is neither a test nor in a private folder."""
    return not any(part.startswith(("_", "test")) for part in path.parent.parts) and "test" not in path.name


def texts_of(path: Path) -> Iterator[str]:
    """First paragraphs of the docstrings of the public functions and classes in a file."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            paragraph = (ast.get_docstring(node) or "").partition("\n\n")[0]
            text = " ".join(NAMES.sub("…", paragraph).split())
            if 40 <= len(text) <= 400:
                yield text


if __name__ == "__main__":
    main()

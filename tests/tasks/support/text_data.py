"""Small text domains on disk: a few words tell the class, among others that tell nothing."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

CLASSES = ("bad", "good")
_TELLING = {"bad": ("awful", "dull", "broken"), "good": ("great", "lovely", "fine")}
_WORDS = (
    "the",
    "film",
    "phone",
    "dinner",
    "was",
    "really",
    "it",
    "and",
    "my",
    "friends",
    "said",
    "today",
    "place",
)


def sentences(n: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """`n` pairs of label and text, the classes in turn; no text comes twice."""
    random = np.random.RandomState(seed)
    found: dict[str, str] = {}
    while len(found) < n:
        label = CLASSES[len(found) % 2]
        words = [_WORDS[k] for k in random.randint(0, len(_WORDS), random.randint(4, 10))]
        words.insert(random.randint(0, len(words)), _TELLING[label][random.randint(3)])
        found.setdefault(" ".join(words).capitalize() + f", {seed}{len(found)}.", label)
    return [(label, text) for text, label in found.items()]


def save_tsv(path: Path, rows: Sequence[tuple[str, ...]], headings: Sequence[str] = ()) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join("\t".join(row) for row in ([tuple(headings)] if headings else []) + list(rows)) + "\n")


def save_jsonl(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps({"label": label, "text": text}) for label, text in rows))


def text_project(root: Path) -> Path:
    """A project with valid data: source as JSON lines, target as TSV without headings, and a data.dvc."""
    save_jsonl(root / "data/source/all.jsonl", sentences(120, seed=1))
    target = sentences(120, seed=2)
    save_tsv(root / "data/target/train.tsv", target[:80])
    save_tsv(root / "data/target/test.tsv", target[80:])
    (root / "data.dvc").write_text("outs:\n- md5: 0123456789abcdef0123456789abcdef.dir\n  path: data\n")
    return root

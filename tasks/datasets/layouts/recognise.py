"""Open a domain's folder: the layout is recognised by looking."""

from pathlib import Path

from tasks.datasets.layouts.domain import TRAIN, Domain, hidden, split_of
from tasks.datasets.layouts.folders import open_folders
from tasks.datasets.layouts.manifest import Columns, is_manifest, open_manifest
from tasks.datasets.layouts.packed import is_idx, is_npz, open_idx, open_npz
from tasks.datasets.layouts.parquet import is_parquet, open_parquet
from tasks.datasets.layouts.texts import has_training_texts, is_texts, open_texts

EXPECTED = (
    "train.npz [val.npz, test.npz]; train-images-idx3-ubyte and train-labels-idx1-ubyte [t10k-…] (.gz or not); "
    "train-….parquet [test-….parquet]; a table (.csv, .tsv) with the columns path and label; pictures in train/CLASS/ "
    "[val/CLASS/, test/CLASS/] or in CLASS/; or texts (.tsv, .csv, .jsonl) with the columns label and text"
)
_WITH_COLUMNS = ("manifest", "parquet", "texts")
"""Layouts of which a column may be asked for."""


def open_domain(project: Path, path: str, columns: Columns | None = None) -> Domain:
    """Recognise and read the folder `path` of a project; what is wrong with it is in `faults`, nothing is raised."""
    columns, folder = columns or Columns(), project / path
    if not folder.is_dir():
        domain = Domain(path)
        domain.add_fault(path, f"there is no such folder; expected {EXPECTED}")
        return domain
    names = sorted(entry.name for entry in folder.iterdir() if not hidden(entry.name))
    folders = [name for name in names if (folder / name).is_dir()]
    if several := _domains(folder, folders):
        if columns.domain in several:
            return open_domain(project, f"{path}/{columns.domain}", columns._replace(domain=""))
        return _of_several(path, several, [name for name in folders if name not in several], columns.domain)
    domain = _open(path, folder, names, folders, columns)
    if not domain.faults:
        _require_columns(domain, columns)
    domain.settle_validation()
    if domain.layout and TRAIN not in domain.splits and not domain.faults:
        domain.add_fault(path, f"no training {domain.things}; expected {EXPECTED}")
    return domain


def _of_several(path: str, several: list[str], others: list[str], asked: str) -> Domain:
    """A folder of domains of which none is meant, or of one that is none."""
    domain, there = Domain(path), f"{', '.join(several)}; say which: prepare.source_domain and prepare.target_domain"
    if asked in others or (not asked and others):
        what = ", ".join([asked] if asked else others)
        domain.add_fault(path, f"{what}: no training split there, so no domain; domains are {there}")
    else:
        domain.add_fault(path, f"{f'no domain {asked!r} there' if asked else 'several domains'}: {there}")
    return domain


def _require_columns(domain: Domain, columns: Columns) -> None:
    """What is asked of a table is a fault where there is none, or none that has such a thing."""
    if domain.layout in ("manifest", "parquet") and columns.text:
        domain.add_fault(domain.path, f"pictures, so no column {columns.text!r} of texts (prepare.*_text_column)")
    if not domain.layout or domain.layout.startswith(_WITH_COLUMNS):
        return
    if columns.domain:
        domain.add_fault(domain.path, f"no domains there, so no {columns.domain!r}; leave prepare's *_domain empty")
    for key in ("label", "group", "text"):
        if asked := getattr(columns, key):
            domain.add_fault(domain.path, f"no table there, so no column {asked!r} (prepare.*_{key}_column)")


def _open(path: str, folder: Path, names: list[str], folders: list[str], columns: Columns) -> Domain:
    domain = Domain(path)
    if is_npz(names):
        open_npz(domain, folder, names)
    elif is_idx(names):
        open_idx(domain, folder, names)
    elif is_parquet(folder, names):
        open_parquet(domain, folder, columns)
    elif is_manifest(folder, names):
        open_manifest(domain, folder, names, columns)
    elif is_texts(folder, names, columns, alone=not folders):
        open_texts(domain, folder, names, columns)
    elif folders:
        open_folders(domain, folder, folders)
    else:
        domain.add_fault(path, f"no data in a known layout; expected {EXPECTED}")
    return domain


def _domains(folder: Path, folders: list[str]) -> list[str]:
    """The domains of DOMAIN/SPLIT/CLASS/FILE, or of DOMAIN/SPLIT.tsv and its like; none if that is not how it lies."""
    if any(split_of(name) for name in folders):
        return []
    return [name for name in folders if has_training_texts(folder / name) or _has_training_folders(folder / name)]


def _has_training_folders(folder: Path) -> bool:
    splits = [entry for entry in folder.iterdir() if entry.is_dir() and split_of(entry.name) == TRAIN]
    return any(entry.is_dir() for split in splits for entry in split.iterdir())

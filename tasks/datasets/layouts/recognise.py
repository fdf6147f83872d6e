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
_WITH_DOMAINS = ("manifest", "parquet", "texts")
"""Layouts that may have a column `domain`."""


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
        domain, asked = Domain(path), f"no domain {columns.domain!r} there" if columns.domain else "several domains"
        domain.add_fault(
            path, f"{asked}: {', '.join(several)}; say which: prepare.source_domain and prepare.target_domain"
        )
        return domain
    domain = _open(path, folder, names, folders, columns)
    if columns.domain and domain.layout and domain.layout not in _WITH_DOMAINS and not domain.faults:
        domain.add_fault(path, f"no domains there, so no {columns.domain!r}; leave prepare's *_domain empty")
    domain.settle_validation()
    if domain.layout and TRAIN not in domain.splits and not domain.faults:
        domain.add_fault(path, f"no training {domain.things}; expected {EXPECTED}")
    return domain


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
    if not folders or any(split_of(name) for name in folders):
        return []
    if all(has_training_texts(folder / name) for name in folders):
        return sorted(folders)
    inner = {name: [entry for entry in (folder / name).iterdir() if entry.is_dir()] for name in folders}
    are_domains = all(
        any(split_of(entry.name) == TRAIN and any(e.is_dir() for e in entry.iterdir()) for entry in entries)
        for entries in inner.values()
    )
    return sorted(inner) if are_domains else []

"""Open a domain's folder; its layout is recognised from its files."""

from pathlib import Path

from tasks.datasets.layouts.arrays import is_idx, is_npz, open_idx, open_npz
from tasks.datasets.layouts.domain import TRAIN, Domain, hidden, split_of
from tasks.datasets.layouts.folders import holds_folders, open_folders
from tasks.datasets.layouts.manifest import Columns, is_manifest, open_manifest
from tasks.datasets.layouts.parquet import is_parquet, open_parquet
from tasks.datasets.layouts.texts import is_texts, open_texts, text_splits

EXPECTED = (
    "train.npz [val.npz, test.npz]; train-images-idx3-ubyte and train-labels-idx1-ubyte [t10k-…] (.gz or not); "
    "train-….parquet [test-….parquet]; a table (.csv, .tsv) with the columns path and label; images in train/CLASS/ "
    "[val/CLASS/, test/CLASS/] or in CLASS/; or texts (.tsv, .csv, .jsonl) with the columns label and text"
)
_WITH_COLUMNS = ("manifest", "parquet", "texts")
"""Layouts with columns, which params.yaml may name."""


def open_domain(project: Path, path: str, columns: Columns | None = None) -> Domain:
    """Recognise and read the folder `path` of a project; problems are in `faults`, nothing is raised."""
    columns, folder = columns or Columns(), project / path
    if not folder.is_dir():
        domain = Domain(path)
        domain.add_fault(path, f"folder not found; expected {EXPECTED}")
        return domain
    names = sorted(entry.name for entry in folder.iterdir() if not hidden(entry.name))
    folders = [name for name in names if (folder / name).is_dir()]
    of_files = _open_files(path, folder, names, folders, columns)
    several, others = ([], []) if of_files else _domains(folder, folders, columns.domain)
    if columns.domain in several:
        return open_domain(project, f"{path}/{columns.domain}", columns._replace(domain=""))
    if several:
        return _of_several(path, several, others, columns.domain)
    domain = of_files or Domain(path)
    if not of_files and folders:
        open_folders(domain, folder, folders)
    elif not of_files:
        domain.add_fault(path, f"no data in a known layout; expected {EXPECTED}")
    if not domain.faults:
        _require_columns(domain, columns)
    domain.settle_validation()
    if domain.layout and TRAIN not in domain.splits and not domain.faults:
        domain.add_fault(path, f"no training {domain.things}; expected {EXPECTED}")
    return domain


def _of_several(path: str, several: list[str], others: list[str], asked: str) -> Domain:
    """A folder of several domains of which none was chosen, or where the chosen one is not a domain."""
    domain = Domain(path)
    there = f"{', '.join(several)}; choose one with prepare.source_domain and prepare.target_domain"
    if asked in others or (not asked and others):
        what = ", ".join([asked] if asked else others)
        domain.add_fault(path, f"{what}: no training split (train/CLASS/… or train.tsv); valid domains: {there}")
    else:
        domain.add_fault(path, f"{f'no domain {asked!r}; found' if asked else 'several domains:'} {there}")
    return domain


def _require_columns(domain: Domain, columns: Columns) -> None:
    """Add a problem for every column or domain that params.yaml names but this layout does not have."""
    if domain.layout in ("manifest", "parquet") and columns.text:
        domain.add_fault(
            domain.path, f"holds images, so it has no column {columns.text!r} of texts (prepare.*_text_column)"
        )
    if not domain.layout or domain.layout.startswith(_WITH_COLUMNS):
        return
    if columns.domain:
        domain.add_fault(
            domain.path, f"is not divided into domains, so has no {columns.domain!r}; leave prepare.*_domain empty"
        )
    for key in ("label", "group", "text"):
        if asked := getattr(columns, key):
            domain.add_fault(domain.path, f"is not a table, so it has no column {asked!r} (prepare.*_{key}_column)")


def _open_files(path: str, folder: Path, names: list[str], folders: list[str], columns: Columns) -> Domain | None:
    """The domain in the files of the folder itself; None if it has no files of a known layout."""
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
    else:
        return None
    return domain


def _domains(folder: Path, folders: list[str], asked: str) -> tuple[list[str], list[str]]:
    """The domains of DOMAIN/SPLIT/CLASS/FILE or DOMAIN/SPLIT.tsv, and the other folders next to them.

    Both empty if that is not the layout: a class may contain a folder `train` too, so a single such folder that was
    not chosen does not make the others domains.
    """
    if any(split_of(name) for name in folders):
        return [], []
    splits = {name: _splits(folder / name) for name in folders}
    domains = [name for name in folders if TRAIN in splits[name]]
    others = [name for name in folders if name not in domains]
    are_domains = asked in domains or len(domains) > 1 or all(splits[name] for name in others)
    return (domains, others) if are_domains else ([], [])


def _splits(folder: Path) -> set[str | None]:
    """The splits in a folder, as folders of classes or as files of texts."""
    inner = [entry for entry in folder.iterdir() if split_of(entry.name) and entry.is_dir()]
    in_folders = {split_of(entry.name) for entry in inner if holds_folders(entry)}
    return in_folders | text_splits(folder)

"""Domains in Parquet files as Hugging Face's `datasets` writes images: a column of encoded files, one of labels.

Row groups are read when needed, and only a few are kept, so that a data set larger than memory can be prepared.
"""

import io
import json
import re
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tasks.common.errors import GraftError
from tasks.datasets.layouts.domain import TRAIN, Domain, LabelledImages, enter_listed, hidden, split_of, usable
from tasks.datasets.layouts.manifest import DOMAIN, LABELS, Columns
from tasks.datasets.limits import MOST_ARRAY, MOST_PICTURES, too_large
from tasks.datasets.pictures import UnreadableError, read_picture

_NAME = re.compile(r"(?:(?P<split>[a-zA-Z]+)(?:-\d+-of-\d+(?:-[0-9a-f]{16})?)?|\d+)\.parquet")
"""The 16 digits are a content hash that older versions of `datasets` added to file names on the hub."""
_KEPT_GROUPS = 8
"""Row groups kept in memory for the threads that decode their images."""


def is_parquet(folder: Path, names: Sequence[str]) -> bool:
    """Whether a folder with files of these names is a domain in Parquet; the files may be in `data/` or `SPLIT/`."""
    return bool(_files(folder, names))


def open_parquet(domain: Domain, folder: Path, columns: Columns) -> None:
    """Read all `SPLIT-00000-of-00001.parquet` or `SPLIT/0000.parquet`; files that name no split are training data."""
    domain.layout = "parquet"
    files: dict[str, list[_File]] = {}
    paths = _files(folder, sorted(entry.name for entry in folder.iterdir()))
    inner = sorted({path.parent for path in paths} - {folder})
    refused = [place for place in inner if not usable(domain, folder, place)]
    for path in paths:
        name = f"{domain.path}/{path.relative_to(folder).as_posix()}"
        match = _NAME.fullmatch(path.name)
        of_folder = None if path.parent == folder else split_of(path.parent.name)
        split = of_folder or split_of((match and match["split"]) or TRAIN)
        if path.parent in refused or not usable(domain, folder, path):
            continue
        if split is None or not (match or of_folder):
            domain.add_fault(name, "not a split; valid: train-….parquet, validation-….parquet, test-….parquet")
            continue
        try:
            files.setdefault(split, []).append(_File(path, name, columns))
        except GraftError as error:
            for problem in error.problems:
                domain.add_fault(name, problem)
    if not domain.faults:
        _enter(domain, files, grouped=bool(columns.group))


class _File:
    """One Parquet file: its labels, and its images by row."""

    def __init__(self, path: Path, name: str, columns: Columns) -> None:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile

        self.name, self.domain, self._lock = name, columns.domain, threading.Lock()
        self._kept: OrderedDict[int, Any] = OrderedDict()
        try:
            self._file = ParquetFile(path, memory_map=True)
            if problems := [*_claims(self._file.metadata)]:
                raise GraftError(problems)
            schema = self._file.schema_arrow
            features = _features(schema)
            self._picture = _picture_column(schema, features)
            label = _label_column(schema, features, columns.label)
            for asked, key in ((columns.group, "*_group_column"), (columns.domain and DOMAIN, "*_domain")):
                if asked and asked not in schema.names:
                    raise GraftError(f"no column {asked!r} (prepare.{key}); found {', '.join(schema.names)}")
            wanted = [label, *filter(None, [columns.group, columns.domain and DOMAIN])]
            table = self._file.read(columns=wanted)
        except (ArrowException, OSError, ValueError, MemoryError) as error:
            raise GraftError(
                f"cannot be read as Parquet; it is probably truncated or damaged: {_short(error)}"
            ) from None
        self.labels = _labels(table.column(label), features.get(label, {}).get("names"))
        domains = table.column(DOMAIN).to_pylist() if columns.domain else None
        self.rows = [row for row in range(len(self.labels)) if not domains or str(domains[row]) == columns.domain]
        groups = table.column(columns.group).to_pylist() if columns.group else []
        missing = [row for row in self.rows if groups[row] in (None, "")] if groups else []
        if missing and columns.every_group:
            raise GraftError(f"{len(missing):,} rows without {columns.group}, first row {missing[0]}")
        self.groups = [f"{name}[{row}]" if value in (None, "") else str(value) for row, value in enumerate(groups)]
        sizes = (self._file.metadata.row_group(group).num_rows for group in range(self._file.num_row_groups))
        self._ends = [*accumulate(sizes)]

    def read(self, row: int, channels: int) -> Image.Image:
        """Decode a row's image."""
        group = bisect_right(self._ends, row)
        with self._lock:
            if group not in self._kept:
                self._kept[group] = self._load(group)
                while len(self._kept) > _KEPT_GROUPS:
                    self._kept.popitem(last=False)
            pictures = self._kept[group]
        value = pictures[row - (self._ends[group - 1] if group else 0)].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise UnreadableError("no image: the column holds no bytes in this row (paths are not followed)")
        return read_picture(io.BytesIO(content), channels)

    def _load(self, group: int) -> Any:
        from pyarrow import ArrowException

        try:
            return self._file.read_row_group(group, columns=[self._picture]).column(0)
        except (ArrowException, OSError, ValueError, MemoryError) as error:
            raise UnreadableError(f"row group {group} is damaged: {_short(error)}") from None


def _files(folder: Path, names: Sequence[str]) -> list[Path]:
    here = [folder / name for name in names if name.endswith(".parquet")]
    splits = [path for name in names if split_of(name) for path in _alone_in(folder / name)]
    return here + splits or _alone_in(folder / "data")


def _alone_in(folder: Path) -> list[Path]:
    """The Parquet files of a folder that contains no folders: next to class folders they are not data."""
    if not folder.is_dir():
        return []
    entries = sorted(entry for entry in folder.iterdir() if not hidden(entry.name))
    return [] if any(entry.is_dir() for entry in entries) else [e for e in entries if e.suffix == ".parquet"]


def _claims(metadata: Any) -> Iterator[str]:
    """What is too large according to the file's metadata."""
    if metadata.num_rows > MOST_PICTURES:
        yield too_large("rows", metadata.num_rows, MOST_PICTURES)
    for group in range(metadata.num_row_groups):
        if (size := metadata.row_group(group).total_byte_size) > MOST_ARRAY:
            yield too_large(f"bytes of row group {group}", size, MOST_ARRAY, "write it again with smaller row groups")


def _features(schema: Any) -> dict[str, Any]:
    """What `datasets` wrote about the columns; empty for files of other origin."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, dict)} if isinstance(found, dict) else {}


def _picture_column(schema: Any, features: dict[str, Any]) -> str:
    from pyarrow import types

    named = [name for name, feature in features.items() if feature.get("_type") == "Image" and name in schema.names]
    structs = [f.name for f in schema if types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0]
    for name in (*named, *structs, *(name for name in ("image", "picture") if name in schema.names)):
        return str(name)
    raise GraftError(f"no column of images (encoded bytes); found {', '.join(schema.names)}")


def _label_column(schema: Any, features: dict[str, Any], asked: str) -> str:
    classes = [name for name, feature in features.items() if feature.get("_type") == "ClassLabel"]
    for name in (asked,) if asked else (*LABELS, *(classes if len(classes) == 1 else [])):
        if name in schema.names:
            return name
    wanted = f"no column {asked!r} (prepare.*_label_column)" if asked else "no column for the label"
    hint = "" if asked else "; name it in prepare.*_label_column"
    raise GraftError(f"{wanted}; found {', '.join(schema.names)}{hint}")


def _labels(column: Any, names: list[str] | None) -> list[str]:
    values = column.to_pylist()
    if missing := [row for row, value in enumerate(values) if value is None]:
        raise GraftError(f"{len(missing):,} rows without a label, first row {missing[0]}")
    if names is None:
        return [str(value) for value in values]
    wrong = [value for value in values if not (isinstance(value, int) and 0 <= value < len(names))]
    if wrong:
        raise GraftError(f"{len(wrong):,} labels out of range, first {wrong[0]}; valid: 0 to {len(names) - 1}")
    return [str(names[value]) for value in values]


def _enter(domain: Domain, files: dict[str, list[_File]], *, grouped: bool) -> None:
    asked = sorted({file.domain for of_split in files.values() for file in of_split if file.domain and not file.rows})
    if asked and not any(file.rows for of_split in files.values() for file in of_split):
        domain.add_fault(domain.path, f"no row has the domain {asked[0]!r}")
        return
    rows = {split: [(file, row) for file in of_split for row in file.rows] for split, of_split in files.items()}
    enter_listed(domain, rows, lambda place: place[0].labels[place[1]], partial(_pictures, grouped=grouped))


def _pictures(rows: list[tuple[_File, int]], labels: np.ndarray, *, grouped: bool) -> LabelledImages:
    def read(place: int, channels: int) -> Image.Image:
        file, row = rows[place]
        return file.read(row, channels)

    groups = [file.groups[row] for file, row in rows] if grouped else None
    return LabelledImages([f"{file.name}[{row}]" for file, row in rows], labels, read, groups)


def _short(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]

"""`.npy` files larger than memory: read and written row by row.

They are not memory-mapped: Linux reads up to 2 MB around each row and counts it as memory of the process, so that a few
hundred random rows cost as much as the file. And with a map, a full disk raises a signal instead of an error.
"""

import math
import os
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike


class NpyReader:
    """The array in a `.npy` file; rows are read on demand, from several threads if needed.

    Raises:
        OSError, ValueError: the file cannot be read, or is not such an array.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        if np.lib.format.read_magic(self._file) != (1, 0):
            raise ValueError(f"{path.name} has another version of the .npy format than 1.0")
        self.shape, fortran, self.dtype = np.lib.format.read_array_header_1_0(self._file)
        self._start, self._row = self._file.tell(), math.prod(self.shape[1:]) * self.dtype.itemsize
        if fortran or self.dtype.hasobject or not self.shape:
            raise ValueError(f"{path.name} does not contain rows of numbers")
        size, needed = path.stat().st_size, self._start + self.shape[0] * self._row
        if size != needed:
            raise ValueError(f"{path.name} has {size:,} bytes, but its shape {self.shape} needs {needed:,}")

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        rows = np.arange(len(self))[index]
        found = np.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        rest = found.reshape(-1).view(np.uint8).data
        for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1) if found.size else ():
            part, rest = rest[: len(run) * self._row], rest[len(run) * self._row :]
            self._fill(part, self._start + int(run[0]) * self._row)
        return found

    def _fill(self, part: memoryview, place: int) -> None:
        while part:
            if not (done := os.preadv(self._file.fileno(), [part], place)):
                raise OSError(f"{self._file.name} was truncated while it was read")
            part, place = part[done:], place + done


class NpyWriter:
    """A new `.npy` file, written in any order, from several threads; a full disk raises an error, not a signal.

    Args:
        path: the new file.
        shape: of the array; the first index selects a row.
        dtype: of its values.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: DTypeLike = np.uint8) -> None:
        self.shape, self._dtype = shape, np.dtype(dtype)
        self._row = math.prod(shape[1:]) * self._dtype.itemsize
        self._file = path.open("wb")
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        self._start = self._file.tell()
        self._file.truncate(self._start + shape[0] * self._row)
        self._file.flush()

    def write(self, place: int, rows: np.ndarray) -> None:
        """Write one or several rows, starting at row `place`."""
        rest = np.ascontiguousarray(rows, dtype=self._dtype).data.cast("B")
        offset = self._start + place * self._row
        while rest:
            done = os.pwrite(self._file.fileno(), rest, offset)
            rest, offset = rest[done:], offset + done

    def __enter__(self) -> "NpyWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

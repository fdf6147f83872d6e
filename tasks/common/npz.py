"""NPZ files whose bytes depend only on the arrays.

The headers of NumPy's own files changed with Python 3.11.4, whose zipfile writes 64-bit sizes in another place.
"""

import io
import zipfile
from pathlib import Path

import numpy as np


def save_npz(path: Path, **arrays: np.ndarray) -> None:
    """Do what `numpy.savez` does; `numpy.load` reads the file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy")  # dated 1980, as in NumPy's files
            entry.create_system, entry.external_attr = 3, 0o600 << 16  # the same on every system
            file.writestr(entry, content.getvalue())

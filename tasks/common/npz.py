"""NPZ files whose bytes depend on nothing but the arrays.

NumPy's own have headers that changed with Python 3.11.4 (its zipfile wrote sizes of 64 bits in another place before).
"""

import io
import zipfile
from pathlib import Path

import numpy as np


def save_npz(path: Path, **arrays: np.ndarray) -> None:
    """What `numpy.savez` does; `numpy.load` reads it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy")  # of 1980, as NumPy's are
            entry.create_system, entry.external_attr = 3, 0o600 << 16  # the same from every system
            file.writestr(entry, content.getvalue())

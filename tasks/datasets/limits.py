"""What raw data may claim of this machine. A file of a kilobyte can unpack to gigabytes: more is refused, and told.

Together they keep a check, and stage `prepare`, below 2 GB of memory, whatever the files say of themselves.
"""

MOST_PIXELS = 1 << 26
"""Of an image, 8,192 x 8,192: four bytes each while it is decoded, a few copies on the way; the largest cameras have
as many."""

LARGE_PIXELS = 1 << 22
"""Of an image that is decoded alone, while the others wait: 17 MB a copy. Smaller ones are decoded at once."""

MOST_ARRAY = 1 << 29
"""Bytes of an array in an NPZ or IDX file, 512 MB: it lies in memory as a whole, and three or four of them may at once.
Folders, tables and Parquet are read image by image, and may be as large as the disk."""

MOST_PICTURES = 1 << 21
"""Of a split, two million: name, label and digest of each are kept, about 500 bytes."""

MOST_TABLE = 1 << 26
"""Bytes of a table (CSV, TSV), 64 MB: its rows take ten times that."""

MOST_LABEL = 200
"""Characters of a class's name; a longer one is a text in the wrong column."""

MOST_DEPTH = 32
"""Folders within one another below a class."""


def too_large(what: str, size: int, most: int, instead: str = "") -> str:
    """A sentence that says so."""
    return f"{what}: {size:,}, at most {most:,}" + (f"; {instead}" if instead else "")

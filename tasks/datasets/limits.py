"""Limits on raw data. A file of a kilobyte can unpack to gigabytes: what exceeds a limit is refused with an error.

Together they keep a check and the stage `prepare` below 2 GB of memory, whatever sizes the files declare.
"""

MOST_PIXELS = 1 << 26
"""Per image, 8,192 x 8,192: four bytes per pixel while it is decoded, in a few copies; about what the largest cameras
have."""

LARGE_PIXELS = 1 << 22
"""Larger images are decoded one at a time: 17 MB per copy. Smaller ones are decoded in parallel."""

MOST_ARRAY = 1 << 29
"""Bytes of an array in an NPZ or IDX file, 512 MB: it is loaded whole, and three or four of them may be loaded at once.
Folders, tables and Parquet are read image by image and may be as large as the disk."""

MOST_PICTURES = 1 << 21
"""Images per split, two million: the name, label and digest of each are kept, about 500 bytes."""

MOST_TABLE = 1 << 26
"""Bytes of a table (CSV, TSV), 64 MB: its rows take ten times that in memory."""

MOST_LABEL = 200
"""Characters of a class name; a longer one is probably a text from the wrong column."""

MOST_DEPTH = 32
"""Levels of nested folders below a class."""


def too_large(what: str, size: int, most: int, instead: str = "") -> str:
    """The message for `what` of size `size` where at most `most` is allowed; `instead` says what to do."""
    return f"{what}: {size:,}, at most {most:,}" + (f"; {instead}" if instead else "")

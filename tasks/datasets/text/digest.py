"""One text: the digest by which duplicates are found, and how it is shown."""

import hashlib
import unicodedata


def text_digest(text: str) -> bytes:
    """16 bytes that are equal for texts that differ only in white space, line ends or the encoding of accents."""
    words = " ".join(unicodedata.normalize("NFC", text).split())
    return hashlib.blake2b(words.encode(), digest_size=16, key=b"text").digest()


def shortened(text: str, most: int = 200) -> str:
    """The text on one line, cut to at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"

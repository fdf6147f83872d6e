"""One text: what makes two of them the same, and how it is shown."""

import hashlib
import unicodedata


def text_digest(text: str) -> bytes:
    """16 bytes that are equal for texts that are equal but for blanks, ends of lines, and how accents are encoded."""
    words = " ".join(unicodedata.normalize("NFC", text).split())
    return hashlib.blake2b(words.encode(), digest_size=16, key=b"text").digest()


def shortened(text: str, most: int = 200) -> str:
    """On one line, and of so many characters at most."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"

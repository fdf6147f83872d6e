"""Addresses of servers: their parts, and how they may be shown."""

from urllib.parse import SplitResult, urlsplit


def without_password(uri: str) -> str:
    """An address as it may be shown."""
    password = split_address(uri).password
    return uri.replace(f":{password}@", ":…@") if password else uri


def split_address(uri: str) -> SplitResult:
    """The parts of an address; none of what is no address."""
    try:
        return urlsplit(uri)
    except ValueError:
        return urlsplit("")

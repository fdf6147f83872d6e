"""Addresses of servers: their parts, and a form that is safe to show."""

from urllib.parse import SplitResult, urlsplit


def without_password(uri: str) -> str:
    """The address with its password hidden."""
    password = split_address(uri).password
    return uri.replace(f":{password}@", ":…@") if password else uri


def split_address(uri: str) -> SplitResult:
    """The parts of an address; all empty if it is not valid."""
    try:
        return urlsplit(uri)
    except ValueError:
        return urlsplit("")

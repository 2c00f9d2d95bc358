"""Values of settings that are texts: lists of names and hashes, addresses, keys."""

import re
from typing import Final
from urllib.parse import urlsplit

from models.errors import KeyUnusable

# A name in the Host header, without port.
_HOST_NAME: Final = re.compile(
    r"(\*\.)?[\w-]+(\.[\w-]+)*|\[[0-9a-f:.]+\]", re.ASCII | re.IGNORECASE
)
# An Origin header, as browsers write it (RFC 6454, 6.2).
_ORIGIN: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])"
    r"(:(?P<port>[1-9][0-9]*))?"
)
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def split_names(text: str) -> list[str]:
    """Split a comma-separated list.

    Raises:
        ValueError: An element is empty.
    """
    names = [part.strip() for part in text.split(",")] if text else []
    if not all(names):
        raise ValueError("one of the comma-separated names is empty.")
    return names


def split_hashes(text: str) -> list[str]:
    """Split a comma-separated list of SHA-256 hashes, and lower their case.

    Raises:
        ValueError: An element is not a SHA-256 hash.
    """
    hashes = [part.strip().lower() for part in text.split(",")] if text else []
    for found in hashes:
        if not _SHA256.fullmatch(found):
            # The value is not repeated: it may be the key itself.
            raise ValueError(
                "one of the comma-separated values is not a SHA-256 hash: `python -m service.keys` "
                "makes a key and its hash."
            )
    return hashes


def check_host_names(text: str) -> None:
    """Check a comma-separated list of host names, which may begin with a wildcard.

    Raises:
        ValueError: An element is not a host name.
    """
    for name in split_names(text):
        if not _HOST_NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} is not a host name: write one such as example.org, *.example.org or "
                "[::1], without scheme, port and path; leave it empty for any."
            )


def check_origins(text: str) -> None:
    """Check a comma-separated list of origins of web pages.

    Raises:
        ValueError: An element is not an origin.
    """
    for origin in split_names(text):
        found = _ORIGIN.fullmatch(origin)
        if origin not in ("*", "null") and (
            found is None or _DEFAULT_PORTS.get(found["scheme"], "") == found["port"]
        ):
            raise ValueError(
                f"{origin!r} is not an origin as browsers send it: write one such as "
                "https://example.org or http://localhost:3000, in lower case, without path, "
                "slash at the end, wildcard and default port; * alone is any."
            )


def check_page_address(text: str) -> None:
    """Check the address of a web page, which may be empty.

    Raises:
        ValueError: It is not one.
    """
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise ValueError(
            f"{text!r} is not the address of a web page: write one such as "
            "http://127.0.0.1:8001; leave it empty for none."
        )


def check_public_keys(text: str) -> None:
    """Check a comma-separated list of public keys or their files.

    Raises:
        ValueError: A key or a file cannot be used.
    """
    if text:
        from models.bundle.signing import load_public_keys  # cryptography takes time to import

        try:
            load_public_keys(text)
        except KeyUnusable as error:
            raise ValueError(str(error)) from error

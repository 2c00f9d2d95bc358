"""Entries of an input, and the interface of inputs."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from json.encoder import encode_basestring_ascii as quote
from typing import NamedTuple


class Entry(NamedTuple):
    """One input.

    Attributes:
        key: Its unique name in the input: relative path, line, member, or row.
        locator: Location of its bytes, for the input's `read`; empty if the key is the location.
        stamp: Changes with the content where that is cheap to know: size and time of change.
    """

    key: str
    locator: str = ""
    stamp: str = ""

    def line(self) -> str:
        """Return the entry as one line of JSON."""
        return f"[{quote(self.key)},{quote(self.locator)},{quote(self.stamp)}]"

    @classmethod
    def parse(cls, line: str) -> "Entry":
        """Return the entry of a line."""
        return cls(*json.loads(line))


class Unreadable(Exception):
    """The bytes of one entry cannot be read; the message is the reason."""


class Input(ABC):
    """Source of entries and their bytes; used by several threads at once.

    Attributes:
        skipped: Number of files left out because of their names, once listed.
    """

    skipped = 0

    @abstractmethod
    def entries(self) -> Iterator[Entry]:
        """Yield all entries, sorted by key.

        Raises:
            BadInput: The input cannot be listed.
        """

    @abstractmethod
    def read(self, entries: Sequence[Entry]) -> list[bytes | Unreadable]:
        """Return the bytes of consecutive entries in order, or an error per unreadable one."""


def reason_of(error: BaseException) -> str:
    """Return the reason of an error on one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__

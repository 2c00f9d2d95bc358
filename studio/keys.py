"""Keys of the studio, each with the role look, label or promote, kept as SHA-256 hashes."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

MAX_NAME_CHARS: Final = 80

_ENTRY: Final = re.compile(
    r"(?P<name>[^:,\s]([^:,]*[^:,\s])?):(?P<role>look|label|promote):(?P<hash>[0-9a-fA-F]{64})"
)


class Role(IntEnum):
    """Role of a person; each role includes those before it."""

    LOOK = 1
    LABEL = 2
    PROMOTE = 3

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Actor:
    """A person, or a program, that uses the studio.

    Attributes:
        name: Name for the history of decisions, versions, runs and promotions.
        role: Role of the person.
    """

    name: str
    role: Role


@dataclass(frozen=True)
class Key:
    """A known key.

    Attributes:
        name: Name of its owner.
        role: Role of its owner.
        hash: SHA-256 hash of the key, in lower-case hex.
    """

    name: str
    role: Role
    hash: str

    @property
    def actor(self) -> Actor:
        """The owner of the key."""
        return Actor(self.name, self.role)


def hash_of(key: str) -> str:
    """Return the SHA-256 hash of a key; keys are long and random, so no salt is needed."""
    return hashlib.sha256(key.encode()).hexdigest()


def new_key(name: str, role: Role) -> tuple[str, Key]:
    """Return a new random key, and its entry with the hash."""
    text = secrets.token_urlsafe(32)
    return text, Key(name, role, hash_of(text))


def entry_of(key: Key) -> str:
    """Return a key's entry in the settings or in the file of keys."""
    return f"{key.name}:{key.role}:{key.hash}"


def parse_keys(text: str) -> list[Key]:
    """Return the keys of a text with one entry per line; empty lines and `#` lines are skipped.

    Raises:
        ValueError: A line is not `NAME:ROLE:HASH`.
    """
    keys = []
    for number, line in enumerate(text.splitlines(), start=1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        found = _ENTRY.fullmatch(entry)
        if found is None or len(found["name"]) > MAX_NAME_CHARS:
            # The value is not repeated: it may be the key itself.
            raise ValueError(
                f"entry {number} is not NAME:ROLE:HASH with the role look, label or promote, and a "
                "SHA-256 hash: `python -m studio key NAME ROLE` makes a key and its entry."
            )
        keys.append(Key(found["name"], Role[found["role"].upper()], found["hash"].lower()))
    return keys


def find_key(keys: Sequence[Key], given: str) -> Key | None:
    """Return the entry of a key; None if it is unknown."""
    found = hash_of(given.strip())
    # Compare with all, each in constant time: the duration reveals nothing.
    matches = [key for key in keys if hmac.compare_digest(found, key.hash)]
    return matches[0] if matches else None

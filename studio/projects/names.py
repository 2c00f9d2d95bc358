"""Names of projects, classes and groups."""

from typing import Final

from models.layout.labels import MAX_LABEL_CHARS, RESERVED_LABELS, label_key
from models.text import REPLACEMENT, clean, normalize_name
from studio.problems import BadName

_MAX_KEY_CHARS: Final = 400  # some letters have several characters in lower case
_FILES: Final = ("labels.csv", "groups.csv", "slices.csv", "_annotations.json")
NO_NAME: Final = "\x01"
"""Begin of a key that no name has, of what is removed."""


def checked_name(name: str, *, of: str) -> str:
    """Return a name in its normal spelling.

    Args:
        name: As given.
        of: Thing it names, for the message: a project, a class, a group.

    Raises:
        BadName: It is empty, too long, reserved, or has characters that cannot be seen.
    """
    normal = normalize_name(name)
    if not normal or len(normal) > MAX_LABEL_CHARS or len(label_key(normal)) > _MAX_KEY_CHARS:
        raise BadName(f"{of.capitalize()} needs a name of 1 to {MAX_LABEL_CHARS} characters.")
    if REPLACEMENT in clean(normal):
        raise BadName(f"The name {clean(normal)!r} has characters that cannot be seen.")
    return normal


def checked_label(name: str) -> str:
    """Return a class name in its normal spelling.

    Raises:
        BadName: As `checked_name`, or the name is reserved, or cannot be a folder.
    """
    label = checked_name(name, of="a class")
    if (key := label_key(label)) in RESERVED_LABELS:
        raise BadName(f"No class can be called {label!r}, because {RESERVED_LABELS[key]}.")
    if key in _FILES:
        raise BadName(f"No class can be called {label!r}: a file beside the classes has that name.")
    if "/" in label or "\\" in label or label.startswith("."):
        raise BadName(
            f"No class can be called {label!r}: its pictures are exported as a folder of that name."
        )
    return label

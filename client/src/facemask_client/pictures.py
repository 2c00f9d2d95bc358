"""Files to classify: found below folders by one rule, and read within a bound.

The rule is the training job's: a file is a picture by its suffix or if it has none, unless it or a
folder above it is hidden or belongs to the operating system.
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

IMAGE_SUFFIXES: Final = frozenset(
    (
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".mpo",
        ".png",
        ".webp",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".heic",
        ".heif",
        ".hif",
        ".heics",
        ".heifs",
        ".avif",
    )
)
"""Suffixes of the files that are taken from folders."""

_SYSTEM_FOLDERS: Final = frozenset(("__MACOSX", "@eaDir", "System Volume Information"))
# Far above any limit of a service. A named pipe or device has no size to look up first.
_MAX_FILE_BYTES: Final = 256 * 2**20


def find_pictures(
    paths: Iterable[str | Path], *, on_skip: Callable[[Path], None] | None = None
) -> Iterator[Path]:
    """Yield files as given, and for each folder all pictures below it, sorted by path.

    Linked folders are followed. A folder that cannot be listed is itself yielded, in the place of
    its pictures, so that it gets an answer that gives the reason.

    Args:
        paths: Files and folders.
        on_skip: Called with each file and folder below a folder that is left out.
    """
    for path in map(Path, paths):
        if is_folder(path):
            yield from sorted(_walk(path, on_skip or (lambda _: None)))
        else:
            yield path


def _walk(top: Path, skip: Callable[[Path], None]) -> Iterator[Path]:
    unlisted: list[Path] = []
    # The real paths above and of each folder: a link back to one of them would never end.
    above: dict[Path, frozenset[str]] = {}
    walk = os.walk(top, followlinks=True, onerror=lambda e: unlisted.append(Path(e.filename)))
    for name, inner, files in walk:
        folder = Path(name)
        outer = above.get(folder.parent, frozenset())
        if (real := os.path.realpath(folder)) in outer:
            inner.clear()
            continue
        above[folder] = outer | {real}
        for one in [one for one in inner if _is_hidden(one)]:
            inner.remove(one)
            skip(folder / one)
        for file in files:
            path = folder / file
            if _is_hidden(file) or not _is_picture(path):
                skip(path)
            else:
                yield path
    yield from unlisted


def is_folder(path: Path) -> bool:
    """Return True if a path is a folder, False also if that cannot be found out."""
    try:
        return path.is_dir()
    except OSError:  # below a folder that cannot be entered
        return False


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _SYSTEM_FOLDERS


def _is_picture(path: Path) -> bool:
    """Return True for a picture's suffix, or none, unless the path is a pipe or a device."""
    if path.suffix and path.suffix.lower() not in IMAGE_SUFFIXES:
        return False
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:  # a broken link, for example: reading it gives the reason
        return True


def read_picture(path: Path) -> bytes:
    """Return the content of one file.

    Raises:
        OSError: It cannot be read, or is too large; for a folder, it cannot be listed.
        ValueError: No file can have this path.
    """
    if is_folder(path):
        next(path.iterdir(), None)  # raises the reason why `find_pictures` yields the folder
    with path.open("rb") as file:
        data = file.read(_MAX_FILE_BYTES + 1)
    if len(data) > _MAX_FILE_BYTES:
        raise OSError(f"it is larger than {_MAX_FILE_BYTES:,} bytes")
    return data

"""Files of a data set by their names: pictures, and files that systems make."""

from collections.abc import Container, Iterable
from pathlib import PurePosixPath
from typing import Final

_PICTURE_SUFFIXES: Final = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".gif"),
        *(".tif", ".tiff", ".heic", ".heics", ".heif", ".heifs", ".hif", ".avif"),
    )
)
_LIVE_PHOTO_SUFFIXES: Final = frozenset((".mov", ".mp4"))
_VIDEO_SUFFIXES: Final = _LIVE_PHOTO_SUFFIXES | frozenset(
    (".m4v", ".avi", ".mkv", ".webm", ".3gp", ".mts", ".m2ts", ".mpg", ".mpeg", ".wmv", ".hevc")
)
_EDIT_SUFFIXES: Final = frozenset((".aae", ".xmp"))

# Names of folders and files that systems, network storage and viewers add to disks, shares, copies
# and archives, in lower case; those that begin with a dot are hidden anyway.
_SYSTEM_NAMES: Final = frozenset(
    (
        *("__macosx", "network trash folder", "temporary items", "thevolumesettingsfolder"),
        *("$recycle.bin", "recycler", "recycled", "system volume information", "$extend"),
        *("found.000", "config.msi", "lost+found"),
        *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@tmp"),
        *("__pycache__", "thumbs.db", "desktop.ini", "ehthumbs.db"),
    )
)
_SYSTEM_NAMES_IN_THIS_CASE: Final = frozenset(("Thumbs",))  # `thumbs` may well be a class

SYSTEM_REASON: Final = "hidden or made by the system"
"""Reason to skip such a file."""


def is_picture(path: PurePosixPath) -> bool:
    """Return True if a file's name suggests a picture."""
    # Files without a suffix are accepted: some cameras and crawlers write them.
    return path.suffix.lower() in _PICTURE_SUFFIXES or path.suffix == ""


def picture_stems(names: Iterable[str]) -> frozenset[str]:
    """Return the paths of pictures without their suffixes, for `other_file_reason`."""
    paths = map(PurePosixPath, names)
    return frozenset(str(path.with_suffix("")).casefold() for path in paths if is_picture(path))


def other_file_reason(path: PurePosixPath, stems: Container[str]) -> str:
    """Return the reason why a file is not a picture, by its name.

    Args:
        path: A file for which `is_picture` is false.
        stems: `picture_stems` of its data set: a phone keeps the video of a Live Photo beside the
            picture, under the same name.
    """
    suffix = path.suffix.lower()
    if suffix in _LIVE_PHOTO_SUFFIXES and str(path.with_suffix("")).casefold() in stems:
        return f"the video of a Live Photo, whose picture is beside it ({path.suffix})"
    if suffix in _VIDEO_SUFFIXES:
        return f"a video, not a picture ({path.suffix})"
    if suffix in _EDIT_SUFFIXES:
        return f"edits of a photograph, kept beside it ({path.suffix})"
    return f"not a picture by its name ({path.suffix})"


def is_system(part: str) -> bool:
    """Return True for the name of a hidden file or folder, or of one that systems make."""
    return (
        part.startswith(".")
        or part.casefold() in _SYSTEM_NAMES
        or part in _SYSTEM_NAMES_IN_THIS_CASE
    )


def system_part(path: str) -> str | None:
    """Return a path up to its first hidden or system folder, or all of it for such a file."""
    parts = path.split("/")
    for number, part in enumerate(parts, start=1):
        if is_system(part):
            return "/".join(parts[:number]) + ("/" if number < len(parts) else "")
    return None

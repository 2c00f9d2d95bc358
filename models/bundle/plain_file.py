"""Bounded reading of plain files in a folder that others may write to."""

import errno
import os
import stat
from pathlib import Path
from typing import Final

from models.errors import BundleIncomplete, BundleUnreadable, reason_of

# Errors that say what the path is; the others (no right, no free descriptor, a broken disk or
# connection) say nothing about the bundle, and may be gone at the next try.
_WHAT_IT_IS: Final = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG}


def read_plain_file(path: Path, max_bytes: int, *, follow_link: bool = False) -> bytes:
    """Read a plain file, at most one byte more than expected, without waiting.

    A link could lead out of the bundle; a pipe or a device would never end.

    Args:
        path: The file.
        max_bytes: Largest expected size.
        follow_link: Read a link to a plain file, too.

    Raises:
        BundleIncomplete: It is missing, or no plain file.
        BundleUnreadable: It cannot be read now.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(path, flags if follow_link else flags | os.O_NOFOLLOW)
        with open(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise BundleIncomplete(f"{path} is no plain file.")
            return file.read(max_bytes + 1)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        if not isinstance(error, OSError) or error.errno in _WHAT_IT_IS:
            if path.is_symlink() and not follow_link:
                raise BundleIncomplete(
                    f"{path} is a link: a bundle holds plain files only."
                ) from error
            raise BundleIncomplete(f"{path} cannot be read ({reason_of(error)}).") from error
        raise BundleUnreadable(f"{path} cannot be read ({reason_of(error)}).") from error

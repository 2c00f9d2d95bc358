"""Opening of an input by its kind."""

import posixpath
from typing import Final

import fsspec

from models.text import clean
from scoring.errors import BadInput
from scoring.inputs.archives import ParquetInput, TarInput
from scoring.inputs.entry import Input, reason_of
from scoring.inputs.files import FolderInput, ListInput

_LIST_SUFFIXES: Final = (".txt", ".lst", ".list")


def open_input(address: str) -> Input:
    """Return the input at a path or URL, by its kind and its suffix.

    A folder holds pictures; `.txt`, `.lst` or `.list` is a list; `.tar` is read by its index;
    `.parquet` has a column of bytes, or of paths.

    Raises:
        BadInput: It does not exist, or is of another kind.
    """
    try:
        file_system, path = fsspec.core.url_to_fs(address)
        is_folder = file_system.isdir(path)
        if not is_folder and not file_system.exists(path):
            raise BadInput(clean(f"{address} does not exist."))
    except (ImportError, OSError, ValueError) as error:
        raise BadInput(clean(f"{address} cannot be opened ({reason_of(error)}).")) from error
    if is_folder:
        return FolderInput(file_system, path)
    suffix = posixpath.splitext(path)[1].lower()
    if suffix in _LIST_SUFFIXES:
        return ListInput(file_system, path)
    if suffix == ".tar":
        return TarInput(file_system, path)
    if suffix in (".parquet", ".pq"):
        return ParquetInput(file_system, path)
    raise BadInput(
        clean(f"{address} is no folder, and no list (.txt), .tar or .parquet file by its name.")
    )

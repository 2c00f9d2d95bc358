"""Batches of image files: found, read, sent as one request, matched to their answers."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import httpx

from facemask_client.answers import Answer, ClientError, parse_answer

IMAGE_SUFFIXES: Final = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jfif",
        ".png",
        ".webp",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".mpo",
        ".heic",
        ".heif",
    ]
)
"""Suffixes of the files that are taken from folders."""

_MAX_BATCH_FILES: Final = 8
_MAX_BATCH_BYTES: Final = 16 * 2**20
# Errors that are about the images. Any other one is about the service or the caller.
_IMAGE_ERROR_STATUSES: Final = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)


def find_pictures(paths: Iterable[str | Path]) -> Iterator[Path]:
    """Yield files as given, and for each folder all images below it, sorted by path."""
    for path in map(Path, paths):
        if path.is_dir():
            for found in sorted(path.rglob("*")):
                hidden = any(part.startswith(".") for part in found.relative_to(path).parts)
                if found.suffix.lower() in IMAGE_SUFFIXES and not hidden and found.is_file():
                    yield found
        else:
            yield path


@dataclass(frozen=True)
class Batch:
    """Encoded images of one request, each with its path."""

    files: list[tuple[Path, bytes]]

    def parts(self) -> list[tuple[str, tuple[str, bytes]]]:
        """Return the parts of the multipart body."""
        return [("files", (path.name, data)) for path, data in self.files]

    def singles(self) -> Iterator["Batch"]:
        """Yield one batch per image."""
        return (Batch([one]) for one in self.files)

    def must_be_split(self, response: httpx.Response) -> bool:
        """Return True if the batch was too large but its images may not be."""
        too_large = response.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return too_large and len(self.files) > 1

    def answers(self, response: httpx.Response) -> Iterator[Answer]:
        """Yield one answer per image from a response.

        Raises:
            ClientError: The response is not about the images.
        """
        try:
            document: dict[str, Any] = response.json()
        except ValueError:
            document = {}
        if response.is_success and "predictions" in document:
            version = document["model"]["version"]
            for (path, _), entry in zip(self.files, document["predictions"], strict=True):
                yield parse_answer(path, entry, version)
            return
        code = document.get("code", "")
        detail = document.get("detail") or f"The service answered with {response.status_code}."
        if response.status_code not in _IMAGE_ERROR_STATUSES:
            raise ClientError(detail, code=code, status=response.status_code)
        errors = {error["index"]: error for error in document.get("errors", [])}
        for index, (path, _) in enumerate(self.files):
            error = errors.get(index, {"code": code, "detail": detail})
            yield Answer(path, error=error["detail"], code=error["code"])


def read_batches(paths: Iterable[Path]) -> Iterator[Batch | Answer]:
    """Read files into batches of bounded size; yield an error answer for an unreadable file."""
    files: list[tuple[Path, bytes]] = []
    total_bytes = 0
    for path in paths:
        try:
            data = path.read_bytes()
        except OSError as error:
            if files:
                yield Batch(files)
                files, total_bytes = [], 0
            reason = error.strerror or type(error).__name__
            yield Answer(path, error=f"The file cannot be read: {reason}.", code="unreadable_file")
            continue
        if files and (len(files) == _MAX_BATCH_FILES or total_bytes + len(data) > _MAX_BATCH_BYTES):
            yield Batch(files)
            files, total_bytes = [], 0
        files.append((path, data))
        total_bytes += len(data)
    if files:
        yield Batch(files)

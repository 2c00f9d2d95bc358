"""Batches of picture files: read, sent as one request, matched to their answers."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

import httpx

from facemask_client.answers import (
    Answer,
    ClientError,
    OddAnswerError,
    parse_answers,
    parse_errors,
    parse_object,
)
from facemask_client.pictures import is_folder, read_picture
from facemask_client.text import clean, reason_of

UNLISTED_CODE: Final = "unreadable_folder"
"""Code of the answer that stands for a folder."""

_MAX_BATCH_FILES: Final = 8
_MAX_BATCH_BYTES: Final = 16 * 2**20
# Errors that are about the pictures. Any other one is about the service or the caller.
_IMAGE_ERROR_STATUSES: Final = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)


@dataclass(frozen=True)
class Batch:
    """Encoded pictures of one request, each with its path."""

    files: list[tuple[Path, bytes]]

    def parts(self) -> list[tuple[str, tuple[str, bytes]]]:
        """Return the parts of the multipart body."""
        return [("files", (clean(path.name), data)) for path, data in self.files]

    def singles(self) -> Iterator["Batch"]:
        """Yield one batch per picture."""
        return (Batch([one]) for one in self.files)

    def must_be_split(self, response: httpx.Response) -> bool:
        """Return True if the batch was too large but its pictures may not be."""
        too_large = response.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return too_large and len(self.files) > 1

    def answers(self, response: httpx.Response) -> list[Answer]:
        """Return one answer per picture from a response.

        Raises:
            ClientError: The response is not about the pictures, or not one of this service.
        """
        status = response.status_code
        if response.is_success:
            try:
                paths = [path for path, _ in self.files]
                return parse_answers(paths, parse_object(response.content))
            except OddAnswerError as error:
                raise ClientError(
                    f"The answer, with status {status}, is not one of this service: {error}.",
                    status=status,
                ) from error
        try:
            detail, code, errors = parse_errors(parse_object(response.content))
        except OddAnswerError as error:
            detail, code, errors = _describe(response), "", {}
            # A proxy in front of the service has its own bound on a body, and its own page.
            if status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                raise ClientError(detail, status=status) from error
        if status not in _IMAGE_ERROR_STATUSES:
            raise ClientError(detail, code=code, status=status)
        answers = []
        for index, (path, _) in enumerate(self.files):
            error_detail, error_code = errors.get(index, (detail, code))
            answers.append(Answer(path, error=error_detail, code=error_code))
        return answers


def _describe(response: httpx.Response) -> str:
    """Return a sentence about a response without a problem document."""
    to = clean(response.headers.get("Location", ""))
    # Not followed: the API key is for the address that was given.
    moved = f" and redirects to {to}" if response.is_redirect and to else ""
    return f"The service answered with {response.status_code}{moved}."


def read_batches(paths: Iterable[Path]) -> Iterator[Batch | Answer]:
    """Read files into batches of bounded size; yield an error answer for an unreadable file."""
    files: list[tuple[Path, bytes]] = []
    total_bytes = 0
    for path in paths:
        try:
            data = read_picture(path)
        except (OSError, ValueError) as error:
            if files:
                yield Batch(files)
                files, total_bytes = [], 0
            yield _unreadable(path, error)
            continue
        if files and (len(files) == _MAX_BATCH_FILES or total_bytes + len(data) > _MAX_BATCH_BYTES):
            yield Batch(files)
            files, total_bytes = [], 0
        files.append((path, data))
        total_bytes += len(data)
    if files:
        yield Batch(files)


def _unreadable(path: Path, error: Exception) -> Answer:
    reason = reason_of(error)
    if is_folder(path):
        return Answer(path, error=f"The folder cannot be listed: {reason}.", code=UNLISTED_CODE)
    return Answer(path, error=f"The file cannot be read: {reason}.", code="unreadable_file")

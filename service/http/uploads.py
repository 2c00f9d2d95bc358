"""Request bodies to encoded pictures, streamed into memory within the limits."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from service.limits.budget import Reservation
from service.problems import (
    BadUpload,
    BodyTooLarge,
    NoPictures,
    SlowRequest,
    TooManyFiles,
    UnsupportedMedia,
)

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_FIELDS: Final = (b"files", b"file")
# Total of one part's headers; python-multipart has no suitable limit of its own.
_MAX_PART_HEADER_BYTES: Final = 8192
# A form may have other fields as well. Each part costs some microseconds, even if it is empty.
_MAX_PARTS_PER_FILE: Final = 4
_MAX_OTHER_PARTS: Final = 16

_PLAIN_CODINGS: Final = ("", "identity")
_PLAIN_TRANSFER_CODINGS: Final = ("", "identity", "chunked")
# Values of a part's Content-Transfer-Encoding that leave its bytes unchanged.
_PLAIN_PART_ENCODINGS: Final = ("", "binary", "8bit", "7bit")


@dataclass
class Upload:
    """One encoded picture as it was sent."""

    filename: str | None
    data: bytearray = field(default_factory=bytearray)


async def read_uploads(
    request: Request,
    reservation: Reservation,
    *,
    max_bytes: int,
    max_files: int,
    timeout_s: float,
) -> list[Upload]:
    """Return the pictures of a request, a multipart form or one raw picture, in the order sent.

    Args:
        request: A request whose body has not been read yet.
        reservation: Grows by each chunk of the body before it is kept.
        max_bytes: Max bytes of the body; a larger one is refused when its header announces it,
            or at the first byte beyond the limit, and is never held whole.
        max_files: Max number of pictures.
        timeout_s: Max seconds until the body is complete.

    Raises:
        NoPictures: The body does not hold a picture.
        UnsupportedMedia: The body is neither a form nor a picture, or it is encoded.
        BadUpload: The form is malformed, or the connection ended early.
        TooManyFiles, BodyTooLarge, SlowRequest, Overloaded: The request exceeds a limit.
    """
    require_plain_body(request)
    announced = request.headers.get("content-length", "")
    # Python converts at most 4,300 digits to a number.
    if announced.isdecimal() and (len(announced) > 20 or int(announced) > max_bytes):
        raise _too_large(max_bytes)
    media_type, options = parse_options_header(request.headers.get("content-type"))
    body = read_body(request, reservation, max_bytes=max_bytes, timeout_s=timeout_s)
    if media_type == b"multipart/form-data":
        if not options.get(b"boundary"):
            raise BadUpload("The multipart body's Content-Type names no boundary.")
        uploads = await _read_form(body, options[b"boundary"], max_files)
    elif media_type.startswith(b"image/") or media_type == b"application/octet-stream":
        upload = Upload(None)
        async for chunk in body:
            upload.data += chunk
        uploads = [upload] if upload.data else []
    else:
        shown = media_type.decode("latin-1") or "no Content-Type"
        raise UnsupportedMedia(
            f"{shown}: send multipart/form-data with pictures in 'files', or one picture "
            "as an image/* body."
        )
    if not uploads:
        raise NoPictures
    return uploads


def require_plain_body(request: Request) -> None:
    """Raise unless a request's body is sent unencoded.

    Raises:
        UnsupportedMedia: The body is compressed, or encoded otherwise.
    """
    for header, plain in (
        ("content-encoding", _PLAIN_CODINGS),
        ("transfer-encoding", _PLAIN_TRANSFER_CODINGS),
    ):
        for value in request.headers.getlist(header):
            for coding in value.split(","):
                if coding.strip().lower() not in plain:
                    raise UnsupportedMedia("Send the body as it is: compressed ones are not read.")


async def read_body(
    request: Request, reservation: Reservation, *, max_bytes: int, timeout_s: float
) -> AsyncIterator[bytes]:
    """Yield a request's body as it arrives, up to the first byte beyond the limit.

    Args:
        request: A request whose body has not been read yet.
        reservation: Grows by each chunk before it is yielded.
        max_bytes: Max bytes of the body.
        timeout_s: Max seconds until the body is complete.

    Raises:
        BodyTooLarge: The body is larger than `max_bytes`.
        SlowRequest: The body takes longer than `timeout_s`.
        Overloaded: The body does not fit into the budget now.
        BadUpload: The connection ended before the body did.
    """
    received = 0
    stream = request.stream()
    end = asyncio.get_running_loop().time() + timeout_s
    while True:
        try:
            async with asyncio.timeout_at(end):
                chunk = await anext(stream, None)
        except TimeoutError as error:
            raise SlowRequest(f"The request's body did not come within {timeout_s:g} s.") from error
        except ClientDisconnect as error:  # the answer reaches no client, and nothing failed here
            raise BadUpload("The connection ended before the request's body did.") from error
        if chunk is None:
            return
        received += len(chunk)
        if received > max_bytes:
            raise _too_large(max_bytes)
        reservation.add(len(chunk))
        yield chunk


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request's body is larger than the {max_bytes:,} bytes allowed.")


async def _read_form(body: AsyncIterator[bytes], boundary: bytes, max_files: int) -> list[Upload]:
    form = _Form(max_files)
    max_parts = _MAX_PARTS_PER_FILE * max_files + _MAX_OTHER_PARTS
    delimiter, delimiters, tail = b"\r\n--" + boundary, 0, b""
    try:
        parser = MultipartParser(boundary, form.callbacks())
        async for chunk in body:
            # Counted before parsing: a text that only looks like a delimiter costs as much.
            tail += chunk
            delimiters += tail.count(delimiter)
            tail = tail[1 - len(delimiter) :]
            if delimiters > max_parts:
                raise TooManyFiles(
                    f"A request may hold {max_files} pictures; the form has over {max_parts} parts."
                )
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise BadUpload("The multipart body breaks its format.") from error
    if not form.ended:
        raise BadUpload("The multipart body ends before its closing boundary.")
    return form.uploads


class _Form:
    """Callbacks that collect the file parts of a form and ignore its other fields."""

    def __init__(self, max_files: int) -> None:
        self.uploads: list[Upload] = []
        self.ended = False
        self._max_files = max_files
        self._current: Upload | None = None
        self._begin_part()

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._part_data,
            "on_end": self._end,
        }

    def _begin_part(self) -> None:
        self._name, self._value = b"", b""
        self._headers: dict[bytes, bytes] = {}
        self._header_bytes = 0
        self._current = None

    def _count_header(self, length: int) -> None:
        self._header_bytes += length
        if self._header_bytes > _MAX_PART_HEADER_BYTES:
            raise BadUpload(f"A part's headers are over {_MAX_PART_HEADER_BYTES} bytes.")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name, self._value = b"", b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        if options.get(b"name") not in _FIELDS:
            return
        self._require_plain_part()
        if len(self.uploads) >= self._max_files:
            raise TooManyFiles(f"A request may hold {self._max_files} pictures.")
        filename = options.get(b"filename")
        self._current = Upload(None if filename is None else filename.decode("utf-8", "replace"))
        self.uploads.append(self._current)

    def _require_plain_part(self) -> None:
        for header, plain in (
            (b"content-transfer-encoding", _PLAIN_PART_ENCODINGS),
            (b"content-encoding", _PLAIN_CODINGS),
        ):
            encoding = self._headers.get(header, b"").decode("latin-1").strip().lower()
            if encoding not in plain:
                raise UnsupportedMedia(
                    f"A part of the form is encoded ({encoding[:40]}): send the picture's bytes as "
                    "they are."
                )

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current is not None:
            self._current.data += memoryview(data)[start:end]  # a slice would be a copy

    def _end(self) -> None:
        self.ended = True

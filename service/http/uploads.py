"""Request body to encoded pictures, streamed, in memory, and never past the limits."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from service.limits.budget import Take, in_time
from service.problems import BadUpload, BodyTooLarge, NoPictures, TooManyFiles, UnsupportedMedia

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_FIELDS = (b"files", b"file")
# Of one part's headers; python-multipart has no bound of its own that fits.
_MAX_PART_HEADER_BYTES = 8192


@dataclass
class Upload:
    """One encoded picture as it was sent."""

    filename: str | None
    data: bytearray = field(default_factory=bytearray)


async def read_uploads(
    request: Request, *, max_bytes: int, max_files: int, seconds: float, take: Take
) -> list[Upload]:
    """Read the pictures of a request: a multipart form, or one raw picture.

    Args:
        request: Its body has not been read yet.
        max_bytes: Largest body; a larger one is refused when its header announces it, or at
            the byte that exceeds it, and is never held whole.
        max_files: Most pictures.
        seconds: Most for the body to come.
        take: Told of each part of the body before it is kept.

    Returns:
        At least one upload, in the order sent.

    Raises:
        BodyTooLarge, TooManyFiles, UnsupportedMedia, BadUpload, NoPictures, SlowRequest,
            Overloaded: As they say.
    """
    announced = request.headers.get("content-length", "")
    # Python turns no more than 4,300 digits into a number.
    if announced.isdecimal() and (len(announced) > 20 or int(announced) > max_bytes):
        raise _too_large(max_bytes)
    kind, options = parse_options_header(request.headers.get("content-type"))
    body = bounded_body(request, max_bytes, seconds, take)
    if kind == b"multipart/form-data":
        if not options.get(b"boundary"):
            raise BadUpload("The multipart body's Content-Type names no boundary.")
        uploads = await _read_form(body, options[b"boundary"], max_files)
    elif kind.startswith(b"image/") or kind == b"application/octet-stream":
        upload = Upload(None)
        async for chunk in body:
            upload.data += chunk
        uploads = [upload] if upload.data else []
    else:
        shown = kind.decode("latin-1") or "no Content-Type"
        raise UnsupportedMedia(
            f"{shown}: send multipart/form-data with pictures in 'files', or one picture "
            "as an image/* body."
        )
    if not uploads:
        raise NoPictures("The request holds no picture: send one or many in the field 'files'.")
    return uploads


async def bounded_body(
    request: Request, max_bytes: int, seconds: float, take: Take
) -> AsyncIterator[bytes]:
    """A request's body as it comes, up to the byte that is too many.

    Args:
        request: Its body has not been read yet.
        max_bytes: Largest body.
        seconds: Most for all of it to come.
        take: Told of each part before it is given.

    Raises:
        BodyTooLarge: It is larger.
        SlowRequest: It takes longer.
        Overloaded: There is no room for it now.
        BadUpload: The connection ended before it did.
    """
    received = 0
    try:
        async for chunk in in_time(request.stream(), seconds):
            received += len(chunk)
            if received > max_bytes:
                raise _too_large(max_bytes)
            take(len(chunk))
            yield chunk
    except ClientDisconnect as error:  # the answer reaches nobody, and nothing has failed here
        raise BadUpload("The connection ended before the request's body did.") from error


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request's body is larger than the {max_bytes:,} bytes allowed.")


async def _read_form(body: AsyncIterator[bytes], boundary: bytes, max_files: int) -> list[Upload]:
    form = _Form(max_files)
    try:
        parser = MultipartParser(boundary, form.callbacks())
        async for chunk in body:
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise BadUpload("The multipart body breaks its format.") from error
    if not form.ended:
        raise BadUpload("The multipart body ends before its closing boundary.")
    return form.uploads


class _Form:
    """Collects the file parts of a form; other fields are ignored."""

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
        self._name, self._value, self._disposition = b"", b"", b""
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
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name, self._value = b"", b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if options.get(b"name") not in _FIELDS:
            return
        if len(self.uploads) >= self._max_files:
            raise TooManyFiles(f"A request may hold {self._max_files} pictures.")
        filename = options.get(b"filename")
        self._current = Upload(None if filename is None else filename.decode("utf-8", "replace"))
        self.uploads.append(self._current)

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current is not None:
            self._current.data += memoryview(data)[start:end]  # a slice would be a copy

    def _end(self) -> None:
        self.ended = True

"""Request bodies to pictures: every format and every limit."""

import random
from collections.abc import Iterable, Sequence

import pytest
from starlette.requests import Request
from starlette.types import Message

from service.http.uploads import Upload, read_uploads
from service.limits.budget import Budget, Reservation
from service.problems import (
    BadUpload,
    BodyTooLarge,
    NoPictures,
    ServiceError,
    TooManyFiles,
    UnsupportedMedia,
)
from tests import WAIT_S
from tests.service.fixtures import form, wait

A, B, C = b"picture a", b"\x00\r\n--not-a-boundary\r\n\xff", b"c" * 3000


class Body:
    """A request's body in chunks; counts those that were read."""

    def __init__(self, chunks: Iterable[bytes], *, disconnects: bool = False) -> None:
        self._chunks = list(chunks)
        self._disconnects = disconnects
        self.taken = 0

    async def receive(self) -> Message:
        if self._disconnects and self.taken == len(self._chunks):
            return {"type": "http.disconnect"}
        chunk = self._chunks[self.taken] if self._chunks else b""
        self.taken += 1
        more = self.taken < len(self._chunks) or self._disconnects
        return {"type": "http.request", "body": chunk, "more_body": more}


def read(
    body: bytes | Body,
    content_type: str | None,
    *,
    length: str | None = None,
    more_headers: Sequence[tuple[bytes, bytes]] = (),
    max_bytes: int = 100_000,
    max_files: int = 10,
) -> list[Upload]:
    headers = list(more_headers)
    if content_type is not None:
        headers.append((b"content-type", content_type.encode("latin-1")))
    if length is not None:
        headers.append((b"content-length", length.encode("latin-1")))
    source = body if isinstance(body, Body) else Body([body])
    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers}
    request = Request(scope, source.receive)
    return wait(
        read_uploads(
            request,
            Reservation(Budget()),
            max_bytes=max_bytes,
            max_files=max_files,
            timeout_s=WAIT_S,
        )
    )


def pairs(uploads: Sequence[Upload]) -> list[tuple[str | None, bytes]]:
    return [(upload.filename, bytes(upload.data)) for upload in uploads]


def test_form_fields_file_and_files_are_read_in_order() -> None:
    body, kind = form(
        ("files", "a.png", A),
        ("note", None, b"hello"),
        ("file", "b.png", B),
        ("picture", "x.png", b"x"),
        ("FILES", "y.png", b"y"),
        ("files", "c.png", C),
    )
    assert pairs(read(body, kind)) == [("a.png", A), ("b.png", B), ("c.png", C)]


@pytest.mark.parametrize("filename", ["", "mäske 口罩 😷.png", "a;b=c.png", "../../etc/passwd"])
def test_file_name_is_returned_unchanged(filename: str) -> None:
    body, kind = form(("files", filename, A))
    assert pairs(read(body, kind)) == [(filename, A)]


def test_part_without_file_name_is_a_picture() -> None:
    body, kind = form(("files", None, A))
    assert pairs(read(body, kind)) == [(None, A)]


def test_file_name_that_is_not_utf8_has_replacement_characters() -> None:
    body, kind = form(("files", "m?ske.png", A))
    assert pairs(read(body.replace(b"m?ske", b"m\xe4ske"), kind)) == [("m\ufffdske.png", A)]


def test_part_headers_are_case_insensitive_and_others_ignored() -> None:
    body, kind = form(("files", "a.png", A))
    body = body.replace(b"Content-Disposition", b"Content-Type: image/png\r\nCONTENT-disposition")
    assert pairs(read(body, kind.replace("multipart/form-data", "Multipart/Form-Data"))) == [
        ("a.png", A)
    ]


@pytest.mark.parametrize("boundary", ["a b", "'()+_,-./:=?", "0", "-" * 60, "x" * 70])
def test_every_valid_boundary_is_accepted(boundary: str) -> None:
    body, kind = form(("files", "a.png", A), ("files", "b.png", B), boundary=boundary)
    assert pairs(read(body, kind)) == [("a.png", A), ("b.png", B)]


def test_unquoted_boundary_is_accepted() -> None:
    body, kind = form(("files", "a.png", A))
    assert pairs(read(body, kind.replace('"', "") + "; charset=utf-8")) == [("a.png", A)]


def test_form_is_read_from_chunks_of_any_size() -> None:
    body, kind = form(("files", "ä.png", A), ("file", None, B), ("files", "c", C))
    whole = pairs(read(body, kind))
    assert whole == [("ä.png", A), (None, B), ("c", C)]
    assert pairs(read(Body(bytes([byte]) for byte in body), kind)) == whole
    dice = random.Random(5)
    for _ in range(50):
        cuts = sorted(dice.choices(range(len(body) + 1), k=6))
        chunks = [
            body[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(body)], strict=True)
        ]
        assert pairs(read(Body(chunks), kind)) == whole


def test_bytes_after_the_closing_boundary_are_ignored() -> None:
    body, kind = form(("files", "a.png", A))
    assert pairs(read(body + b"an epilogue", kind)) == [("a.png", A)]
    assert pairs(read(body[:-2], kind)) == [("a.png", A)]


def test_form_cut_short_anywhere_raises_bad_upload() -> None:
    body, kind = form(("files", "a.png", A), ("files", "b.png", B))
    for end in range(len(body) - len(b"--\r\n") + 1):
        with pytest.raises(BadUpload):
            read(body[:end], kind)


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "multipart/form-data; boundary=" + "x" * 5000,
        "multipart/form-data; boundary=another",
    ],
)
def test_form_without_boundary_raises_bad_upload(content_type: str) -> None:
    body, _ = form(("files", "a.png", A))
    with pytest.raises(BadUpload, match="multipart body"):
        read(body, content_type)


@pytest.mark.parametrize(
    ("content_type", "shown"),
    [
        (None, "no Content-Type"),
        ("", "no Content-Type"),
        ("application/json", "application/json"),
        ("application/x-www-form-urlencoded", "application/x-www-form-urlencoded"),
        ("multipart/mixed; boundary=x", "multipart/mixed"),
        ("text/ümlaut", "text/ümlaut"),
    ],
)
def test_other_media_types_raise_unsupported_media(content_type: str | None, shown: str) -> None:
    with pytest.raises(UnsupportedMedia) as caught:
        read(A, content_type)
    assert str(caught.value).startswith(f"{shown}: send multipart/form-data")


@pytest.mark.parametrize("parts", [(), (("note", None, b"hello"), ("picture", "a.png", A))])
def test_form_without_picture_raises_no_pictures(
    parts: tuple[tuple[str, str | None, bytes], ...],
) -> None:
    body, kind = form(*parts)
    with pytest.raises(NoPictures):
        read(body, kind)


def test_empty_file_keeps_its_index() -> None:
    body, kind = form(("files", "a", A), ("files", "empty", b""), ("files", "c", C))
    assert pairs(read(body, kind)) == [("a", A), ("empty", b""), ("c", C)]


@pytest.mark.parametrize(
    "content_type", ["image/jpeg", "IMAGE/PNG", "image/x-anything; q=1", "application/octet-stream"]
)
def test_raw_body_is_one_picture(content_type: str) -> None:
    assert pairs(read(Body([A, b"", B]), content_type)) == [(None, A + B)]
    with pytest.raises(NoPictures):
        read(b"", content_type)


@pytest.mark.parametrize("raw", [True, False])
def test_content_length_beyond_the_limit_is_refused_before_reading(raw: bool) -> None:
    body, kind = (A, "image/png") if raw else form(("files", "a", A))
    source = Body([body])
    with pytest.raises(BodyTooLarge, match="5 bytes"):
        read(source, kind, length=str(len(body)), max_bytes=5)
    assert source.taken == 0
    assert read(body, kind, length=str(len(body)), max_bytes=len(body))


@pytest.mark.parametrize("length", [None, "3", "-1", "many", "\xb2", "9" * 5000])
def test_streamed_body_is_refused_at_the_first_byte_beyond_the_limit(length: str | None) -> None:
    source = Body([b"x" * 10] * 100)
    with pytest.raises(BodyTooLarge, match="35 bytes"):
        read(source, "image/png", length=length, max_bytes=35)
    assert source.taken <= 4
    assert bytes(read(Body([b"x" * 10] * 3 + [b"x" * 5]), "image/png", max_bytes=35)[0].data) == (
        b"x" * 35
    )


def test_too_many_files_are_refused_before_the_rest_is_read() -> None:
    body, kind = form(*(("files", f"{n}", A) for n in range(4)))
    assert len(read(body, kind, max_files=4)) == 4
    chunks = [body[start : start + 20] for start in range(0, len(body), 20)]
    source = Body(chunks)
    with pytest.raises(TooManyFiles, match="3 pictures"):
        read(source, kind, max_files=3)
    assert source.taken < len(chunks)


@pytest.mark.parametrize(
    "headers",
    [
        b"X-Long: " + b"x" * 20_000,
        b"x" * 20_000 + b": name",
        b"\r\n".join(b"X-%d: " % n + b"x" * 3000 for n in range(4)),
        b"\r\n".join(b"X-%d: y" % n for n in range(3000)),
        b"\r\n".join(b"X-%d: y" % n for n in range(8)) + b"\r\nno colon",
    ],
)
def test_oversized_part_headers_raise_bad_upload(headers: bytes) -> None:
    body, kind = form(("files", "a.png", A))
    body = body.replace(b"Content-Disposition", headers + b"\r\nContent-Disposition")
    with pytest.raises(BadUpload):
        read(body, kind)


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize(
    "encodings",
    [
        [(b"content-encoding", b"gzip")],
        [(b"content-encoding", b"DEFLATE")],
        [(b"content-encoding", b"br")],
        [(b"content-encoding", b"identity, x-gzip")],
        [(b"content-encoding", b"identity"), (b"content-encoding", b"zstd")],
        [(b"transfer-encoding", b"gzip, chunked")],
    ],
)
def test_encoded_body_raises_unsupported_media(
    raw: bool, encodings: list[tuple[bytes, bytes]]
) -> None:
    body, kind = (A, "image/jpeg") if raw else form(("files", "a.png", A))
    source = Body([body])
    with pytest.raises(UnsupportedMedia, match="Send the body as it is"):
        read(source, kind, more_headers=encodings)
    assert source.taken == 0


@pytest.mark.parametrize(
    "header",
    [
        (b"content-encoding", b""),
        (b"content-encoding", b"Identity"),
        (b"content-encoding", b"identity ,identity"),
        (b"transfer-encoding", b"Chunked"),
    ],
)
def test_identity_encoding_of_a_body_is_accepted(header: tuple[bytes, bytes]) -> None:
    assert pairs(read(A, "image/png", more_headers=[header])) == [(None, A)]


@pytest.mark.parametrize(
    "header",
    [
        "Content-Transfer-Encoding: base64",
        "content-transfer-encoding: BASE64 ",
        "Content-Transfer-Encoding: quoted-printable",
        "Content-Transfer-Encoding: x-uuencode",
        "Content-Encoding: gzip",
    ],
)
def test_encoded_part_raises_unsupported_media(header: str) -> None:
    body, kind = form(("note", None, b"hello"), ("files", "a.png", A))
    name = b'name="files"; filename="a.png"\r\n'
    with pytest.raises(UnsupportedMedia, match=header.split(": ")[1].strip().lower()):
        read(body.replace(name, name + header.encode() + b"\r\n"), kind)


@pytest.mark.parametrize("encoding", ["binary", "8BIT", "7bit", ""])
def test_plain_encoding_of_a_part_is_accepted(encoding: str) -> None:
    body, kind = form(("files", "a.png", A))
    part = f'name="files"; filename="a.png"\r\nContent-Transfer-Encoding: {encoding}\r\n'.encode()
    body = body.replace(b'name="files"; filename="a.png"\r\n', part)
    assert pairs(read(body, kind)) == [("a.png", A)]


def test_encoding_of_another_field_is_ignored() -> None:
    body, kind = form(("note", None, b"aGVsbG8="), ("files", "a.png", A))
    body = body.replace(b'name="note"\r\n', b'name="note"\r\nContent-Transfer-Encoding: base64\r\n')
    assert pairs(read(body, kind)) == [("a.png", A)]


@pytest.mark.parametrize("size", [1, 5, 64, 100_000])
@pytest.mark.parametrize(
    "junk",
    [
        b"--x\r\n\r\n\r\n" * 9000,
        b"--x\r\nContent-Disposition: form-data; name=note\r\n\r\n\r\n" * 1000,
        b"--x\r\n\r\n" + b"\r\n--xy" * 15_000,
        b"--x\r\n\r\n" + b"\r\n--x " * 1 + b"\r\n" + b"\r\n--x\r" * 9000,
    ],
)
def test_many_parts_raise_too_many_files_early(junk: bytes, size: int) -> None:
    source = Body([junk[start : start + size] for start in range(0, len(junk), size)])
    with pytest.raises(TooManyFiles, match="10 pictures"):
        read(source, "multipart/form-data; boundary=x", max_files=10)
    assert source.taken * size < 10_000 or size == 100_000


def test_other_fields_leave_room_for_all_files() -> None:
    fields = [("note", None, b"x"), ("files", "a", A), ("more", None, b"")] * 10
    body, kind = form(*fields)
    assert len(read(body, kind, max_files=10)) == 10


def test_extended_file_name_is_ignored_as_rfc_7578_demands() -> None:
    body, kind = form(("files", "a.png", A), ("files", None, B))
    body = body.replace(b'filename="a.png"', b"filename=\"a.png\"; filename*=UTF-8''%E2%82%AC.png")
    body = body.replace(b'name="files"\r\n', b"name=\"files\"; filename*=UTF-8''b.png\r\n")
    assert pairs(read(body, kind)) == [("a.png", A), (None, B)]


def test_part_without_disposition_is_ignored() -> None:
    body, kind = form(("files", "a.png", A), ("files", "b.png", B))
    body = body.replace(b"Content-Disposition", b"X-Disposition", 1)
    assert pairs(read(body, kind)) == [("b.png", B)]


@pytest.mark.parametrize("raw", [True, False])
def test_disconnect_during_the_body_raises_bad_upload(raw: bool) -> None:
    body, kind = (A, "image/png") if raw else form(("files", "a", A))
    with pytest.raises(BadUpload, match="ended before"):
        read(Body([body[:8]], disconnects=True), kind)


def test_random_bytes_raise_service_errors_only() -> None:
    dice = random.Random(11)
    body, kind = form(("files", "a.png", A), ("note", None, B), ("file", "c.png", A))
    refused = 0
    for _ in range(500):
        broken = bytearray(body)
        for _ in range(dice.randint(1, 4)):
            broken[dice.randrange(len(broken))] = dice.choice(b'\r\n-:;"= \x00\xffa')
        try:
            uploads = read(bytes(broken), kind)
        except ServiceError:
            refused += 1
        else:
            assert 1 <= len(uploads) <= 2
    assert 0 < refused < 500

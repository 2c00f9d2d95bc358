"""A broken or hostile server: bounded time and memory, and ClientError with a sentence."""

import asyncio
import gzip
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from facemask_client import Answer, AsyncClient, Client, ClientError
from tests.client.stub import URL, StubService, entry, predictions, sending

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def classify_blocking(address: str, path: Path, timeout_s: float) -> list[Answer]:
    with Client(address, timeout_s=timeout_s) as client:
        return list(client.classify([path]))


def classify_async(address: str, path: Path, timeout_s: float) -> list[Answer]:
    async def collect() -> list[Answer]:
        async with AsyncClient(address, timeout_s=timeout_s) as client:
            return [answer async for answer in client.classify([path])]

    return asyncio.run(collect())


@pytest.fixture(name="classify", params=[classify_blocking, classify_async])
def _classify(request: pytest.FixtureRequest) -> Callable[[str, Path, float], list[Answer]]:
    both: Callable[[str, Path, float], list[Answer]] = request.param
    return both


@pytest.fixture(name="picture")
def _picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    path.write_bytes(b"one image")
    return path


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(OK + b"Content-Length: 100000\r\n\r\n", id="body"),
        pytest.param(OK + b"X-Long: ", id="header"),
        pytest.param(b"", id="no status line"),
    ],
)
def test_classify_raises_if_the_answer_comes_byte_by_byte(
    classify: Callable[[str, Path, float], list[Answer]], head: bytes, picture: Path
) -> None:
    with (
        sending(head, chunk=b"1", pause_s=0.05) as address,
        pytest.raises(ClientError, match=r"not within 0\.4 s"),
    ):
        classify(address, picture, 0.4)  # the answer itself takes for ever


def test_classify_raises_if_the_answer_does_not_end(
    classify: Callable[[str, Path, float], list[Answer]], picture: Path
) -> None:
    head = OK + b"Content-Length: 99999999999\r\n\r\n"
    with (
        sending(head, chunk=b" " * 2**20) as address,
        pytest.raises(ClientError, match="larger than 16,777,216 bytes"),
    ):
        classify(address, picture, 60)


def test_classify_raises_before_it_expands_a_compressed_answer(
    classify: Callable[[str, Path, float], list[Answer]], picture: Path
) -> None:
    bomb = gzip.compress(bytes(2**26))
    head = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    with (
        sending(head, chunk=bomb) as address,
        pytest.raises(ClientError, match="compressed"),
    ):
        classify(address, picture, 60)


GOOD = entry()
ODD_PREDICTIONS = [
    None,
    "text",
    {},
    GOOD | {"score": "high"},
    GOOD | {"score": True},
    GOOD | {"score": 7},
    GOOD | {"scores": [1]},
    GOOD | {"scores": {"mask": None}},
    GOOD | {"label": 3},
    GOOD | {"decision": None},
    GOOD | {"familiar": "no"},
    GOOD | {"distance": "far"},
    GOOD | {"distance": -1},
    GOOD | {"framing": 1},
    GOOD | {"box": [1, 2, 3, 4]},
    GOOD | {"further_faces": "two"},
    {"error": "broken"},
    {"error": {"detail": 1, "code": "x"}},
    {"faces": None},
    {"faces": ["x"]},
    {"faces": [GOOD | {"face_score": 0.5, "box": [1, 2, 3, 4]}]},
    {"faces": [GOOD | {"face_score": 0.5, "box": {"left": 1, "top": 2, "width": 3}}]},
]
ODD_BODIES = [
    "",
    "null",
    "[]",
    "7",
    '"predictions"',
    "<html>",
    "[" * 100_000,
    '{"predictions": []}',
    '{"predictions": {}, "model": {"version": "v"}}',
    '{"predictions": [], "model": {"version": "v"}}',
    '{"predictions": [{}, {}], "model": {"version": "v"}}',
    '{"predictions": [{}], "model": "v"}',
    '{"predictions": [{}], "model": {"version": "v"}, "threshold": "high"}',
    '{"predictions": [{}], "model": {"version": 7}}',
    '{"predictions": [' + "9" * 5000 + '], "model": {"version": "v"}}',
    '{"predictions": [{"decision": "a", "label": "a", "score": NaN, "scores": {}}],'
    ' "model": {"version": "v"}}',
    '{"predictions": [{"decision": "a", "label": "a", "score": 1' + "0" * 400 + ', "scores": {}}],'
    ' "model": {"version": "v"}}',
]
ODD_PROBLEMS = [
    "null",
    "[]",
    "<html>",
    '{"detail": 7}',
    '{"detail": "x", "code": []}',
    '{"detail": "x", "code": "x", "errors": 7}',
    '{"detail": "x", "code": "x", "errors": [7]}',
    '{"detail": "x", "code": "x", "errors": [{"index": []}]}',
    '{"detail": "x", "code": "x", "errors": [{"index": 0, "detail": null, "code": "x"}]}',
]


def answer_with(response: httpx.Response, picture: Path) -> list[Answer]:
    with Client(URL, transport=httpx.MockTransport(StubService(response))) as client:
        return list(client.classify([picture]))


@pytest.mark.parametrize("prediction", ODD_PREDICTIONS)
def test_classify_raises_if_a_prediction_has_another_shape(
    prediction: object, picture: Path
) -> None:
    document = {"model": {"version": "v"}, "predictions": [prediction]}
    with pytest.raises(ClientError, match="not one of this service") as caught:
        answer_with(httpx.Response(200, json=document), picture)
    assert caught.value.status == 200


@pytest.mark.parametrize("body", ODD_BODIES)
def test_classify_raises_if_the_answer_has_another_shape(body: str, picture: Path) -> None:
    with pytest.raises(ClientError, match="not one of this service"):
        answer_with(httpx.Response(200, text=body), picture)


@pytest.mark.parametrize("body", ODD_PROBLEMS)
@pytest.mark.parametrize("status", [400, 422, 500])
def test_classify_raises_if_a_problem_has_another_shape(
    body: str, status: int, picture: Path
) -> None:
    with pytest.raises(ClientError, match=f"answered with {status}"):
        answer_with(httpx.Response(status, text=body), picture)


def test_classify_gives_an_image_the_refusal_of_a_proxy_that_bounds_bodies(picture: Path) -> None:
    (answer,) = answer_with(httpx.Response(413, text="<html>nginx</html>"), picture)
    assert answer.error == "The service answered with 413."


def test_classify_raises_at_a_redirect_and_does_not_send_the_key_on(picture: Path) -> None:
    moved = httpx.Response(307, headers={"Location": "http://other.example/predict"})
    service = StubService(moved)
    with (
        pytest.raises(ClientError, match=r"307 and redirects to http://other\.example/predict"),
        Client(URL, key="secret", transport=httpx.MockTransport(service)) as client,
    ):
        list(client.classify([picture]))
    assert len(service.requests) == 1


def test_texts_of_the_server_hold_no_control_characters(picture: Path) -> None:
    (answer,) = answer_with(predictions({"error": {"detail": "\x1b[2J", "code": "x"}}), picture)
    assert answer.error == "\ufffd[2J"
    with pytest.raises(ClientError, match="\ufffd"):
        answer_with(httpx.Response(500, json={"detail": "\x1b[2J"}), picture)

"""Client and AsyncClient against a stub: order, batches, retries, errors. Needs httpx only."""

import asyncio
import datetime
import subprocess
import sys
from collections.abc import Callable
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest

from facemask_client import Answer, AsyncClient, Box, Client, ClientError
from facemask_client.clients import retry_after_s
from tests import WAIT_S
from tests.client.stub import URL, StubService, busy, entry, predictions, unreachable

Handler = Callable[[httpx.Request], httpx.Response]
Classify = Callable[..., list[Answer]]


def classify_blocking(handler: Handler, *paths: Path, faces: bool = False) -> list[Answer]:
    transport = httpx.MockTransport(handler)
    with Client(URL, key="secret", retries=2, faces=faces, transport=transport) as client:
        return list(client.classify(paths))


def classify_async(handler: Handler, *paths: Path, faces: bool = False) -> list[Answer]:
    async def collect() -> list[Answer]:
        transport = httpx.MockTransport(handler)
        async with AsyncClient(
            URL, key="secret", retries=2, faces=faces, transport=transport
        ) as client:
            return [answer async for answer in client.classify(paths)]

    return asyncio.run(collect())


@pytest.fixture(name="classify", params=[classify_blocking, classify_async])
def _classify(request: pytest.FixtureRequest) -> Classify:
    both: Classify = request.param
    return both


@pytest.fixture(name="picture")
def _picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    path.write_bytes(b"one image")
    return path


def test_client_reads_the_framing_and_can_ask_for_whole_images(picture: Path) -> None:
    box = {"left": 1, "top": 2, "width": 30, "height": 40}
    service = StubService(
        predictions(entry(framing="face", box=box, further_faces=2)),
        predictions(entry(framing="whole")),
    )
    transport = httpx.MockTransport(service)
    with Client(URL, transport=transport) as client:
        (framed,) = client.classify([picture])
    with Client(URL, whole=True, transport=transport) as client:
        (whole,) = client.classify([picture])
    assert (framed.framing, framed.box, framed.further_faces) == ("face", Box(1, 2, 30, 40), 2)
    assert (whole.framing, whole.box, whole.further_faces) == ("whole", None, None)
    assert [dict(request.url.params) for request in service.requests] == [{}, {"framing": "whole"}]


def test_client_sends_its_threshold(picture: Path) -> None:
    service = StubService(predictions(entry(), threshold=0.25))
    with Client(URL, threshold=0.25, transport=httpx.MockTransport(service)) as client:
        (answer,) = client.classify([picture])
    assert service.requests[0].url.params["threshold"] == "0.25"
    assert answer.threshold == 0.25
    with pytest.raises(ClientError, match="from 0 to 1"):
        Client(URL, threshold=2)


def test_classify_sends_batches_of_eight_and_answers_in_order(
    classify: Classify, tmp_path: Path
) -> None:
    paths = [tmp_path / f"{index:02}.png" for index in range(10)]
    for path in paths:
        path.write_bytes(path.name.encode())
    service = StubService(
        predictions(*[entry(score=index / 10) for index in range(8)]),
        predictions(entry(score=0.8), {"error": {"detail": "It is broken.", "code": "broken"}}),
    )
    answers = classify(service, *paths)
    assert [answer.file for answer in answers] == paths
    assert [answer.score for answer in answers] == [*[i / 10 for i in range(9)], None]
    assert (answers[9].error, answers[9].code) == ("It is broken.", "broken")
    assert {answer.model for answer in answers} == {"v"}
    assert [request.content.count(b'name="files"') for request in service.requests] == [8, 2]


def test_classify_bounds_the_bytes_of_a_batch(classify: Classify, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.png", "b.png")]
    for path in paths:
        path.write_bytes(bytes(9 * 2**20))
    service = StubService(predictions(entry()), predictions(entry()))
    assert len(classify(service, *paths)) == 2
    assert len(service.requests) == 2


def test_classify_sends_the_whole_request_again_while_the_service_is_busy(
    classify: Classify, picture: Path
) -> None:
    service = StubService(busy(), busy(503), predictions(entry()))
    (answer,) = classify(service, picture)
    assert answer.decision == "mask"
    assert len(service.requests) == 3
    assert all(b"one image" in request.content for request in service.requests)
    assert {request.headers["authorization"] for request in service.requests} == {"Bearer secret"}


def test_classify_raises_after_the_last_retry(classify: Classify, picture: Path) -> None:
    service = StubService(*[busy() for _ in range(5)])
    with pytest.raises(ClientError, match="Many are waiting") as caught:
        classify(service, picture)
    assert (caught.value.status, caught.value.code) == (429, "overloaded")
    assert len(service.requests) == 3


def test_classify_raises_if_the_key_is_refused(classify: Classify, picture: Path) -> None:
    problem = {"code": "key_refused", "detail": "The key is not known."}
    with pytest.raises(ClientError, match="not known") as caught:
        classify(StubService(httpx.Response(401, json=problem)), picture)
    assert caught.value.code == "key_refused"


def test_classify_raises_if_the_answer_is_not_of_the_service(
    classify: Classify, picture: Path
) -> None:
    with pytest.raises(ClientError, match="answered with 502"):
        classify(StubService(httpx.Response(502, text="<html>")), picture)


def test_classify_raises_if_the_service_is_unreachable(classify: Classify, picture: Path) -> None:
    with pytest.raises(ClientError, match=r"does not answer \(refused\)"):
        classify(unreachable, picture)


def test_classify_splits_a_batch_that_is_too_large(classify: Classify, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.png", "b.png")]
    for path in paths:
        path.write_bytes(b"x")
    problem = {"code": "body_too_large", "detail": "It is too large."}
    too_large = httpx.Response(413, json=problem)
    service = StubService(too_large, predictions(entry()), too_large)
    first, second = classify(service, *paths)
    assert first.decision == "mask"
    assert second.code == "body_too_large"


def test_classify_gives_each_image_its_own_error(classify: Classify, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.png", "b.png")]
    for path in paths:
        path.write_bytes(b"x")
    problem = {
        "code": "several",
        "detail": "None can be read.",
        "errors": [{"index": 1, "code": "broken", "detail": "It is broken."}],
    }
    first, second = classify(StubService(httpx.Response(422, json=problem)), *paths)
    assert (first.code, first.error) == ("several", "None can be read.")
    assert (second.code, second.error) == ("broken", "It is broken.")


def test_classify_answers_for_an_unreadable_file_in_its_position(
    classify: Classify, picture: Path, tmp_path: Path
) -> None:
    service = StubService(predictions(entry()), predictions(entry()))
    answers = classify(service, picture, tmp_path / "none.png", picture)
    assert [answer.code for answer in answers] == [None, "unreadable_file", None]
    assert answers[1].error == "The file cannot be read: No such file or directory."


def test_classify_sends_names_of_any_bytes(classify: Classify, tmp_path: Path) -> None:
    names = ["caf\udce9.png", "\x1b[31mred.png", 'a"b\r\n.png']
    for name in names:
        (tmp_path / name).write_bytes(b"one image")
    service = StubService(predictions(entry(), entry(), entry()))
    assert len(classify(service, *[tmp_path / name for name in names])) == 3
    body = service.requests[0].content.decode()
    assert 'filename="caf\ufffd.png"' in body
    assert "\x1b" not in body


def test_classify_with_faces_returns_each_face(classify: Classify, picture: Path) -> None:
    box = {"left": 1, "top": 2, "width": 3, "height": 4}
    face = entry(box=box, face_score=0.9, familiar=False, added_later=1)
    service = StubService(predictions({"faces": [face]}))
    (answer,) = classify(service, picture, faces=True)
    assert answer.decision is None
    assert answer.faces is not None
    (found,) = answer.faces
    assert (found.left, found.top, found.width, found.height) == (1, 2, 3, 4)
    assert (found.face_score, found.score, found.familiar) == (0.9, 0.75, False)
    assert service.requests[0].url.params["faces"] == "true"


def test_retry_after_s_reads_seconds_and_dates_within_a_minute() -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=30)
    past = soon - datetime.timedelta(days=1)

    def seconds(value: str) -> float:
        return retry_after_s(httpx.Response(429, headers={"Retry-After": value}))

    assert seconds("7") == 7
    assert seconds("9" * 5000) == 60
    assert 0 < seconds(format_datetime(soon, usegmt=True)) <= 30
    assert seconds(format_datetime(past, usegmt=True)) == 0
    assert seconds("soon") == 1
    assert seconds("Mon, 01 Jan 0001 00:00:00 -0000") in (0, 1)
    assert retry_after_s(httpx.Response(429)) == 1


def test_importing_the_client_imports_neither_model_nor_server() -> None:
    code = (
        "import sys, facemask_client.__main__\n"
        "heavy = ('torch', 'fastapi', 'PIL', 'pydantic', 'models', 'service')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT_S, check=True
    )
    assert done.stdout == "[]\n"

"""The endpoints, through the whole application but for the network."""

import asyncio
import io
import logging
import math
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from starlette.types import Message

from models.bundle.load import Bundle
from models.bundle.store import MANIFEST, MODEL, set_current
from service.app import create_app
from service.http import predict
from service.http.middleware import RequestIdMiddleware
from service.http.schemas import HealthAnswer, PredictAnswer, Prediction, Problem
from service.inference.engine import Engine
from service.telemetry.logging import configure_logging
from tests.service.fixtures import (
    SIZE_PX,
    THREE,
    THRESHOLD,
    TWO,
    GatedModel,
    code_of,
    code_picture,
    encoded,
    files_of,
    form,
    happens,
    make_engine,
    publish_bundle,
    serving,
    settings_of,
    shuffled_codes,
    wait,
)

TORN = code_picture(7)[:60]
NOT_A_PICTURE = b"hello, world"


@pytest.fixture(scope="module", name="bundle")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return publish_bundle(tmp_path_factory.mktemp("store"))


@pytest.fixture(name="model")
def _model(bundle: Bundle) -> Iterator[GatedModel]:
    model = GatedModel(bundle)
    yield model
    model.gate.set()


@pytest.fixture(name="engine")
def _engine(bundle: Bundle, model: GatedModel) -> Iterator[Engine]:
    engine = make_engine(bundle, model)
    yield engine
    engine.close()


def good(response: httpx.Response) -> PredictAnswer:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    answer = PredictAnswer.model_validate(response.json())
    assert [item.index for item in answer.predictions] == list(range(len(answer.predictions)))
    assert answer.request_id == response.headers["x-request-id"]
    for item in answer.predictions:
        if isinstance(item, Prediction):
            assert list(item.scores) == answer.model.labels
            assert math.isclose(sum(item.scores.values()), 1, abs_tol=1e-6)
            assert item.label == max(item.scores, key=item.scores.__getitem__)
            assert item.score == item.scores[item.label]
            assert item.decision == (item.label if item.score >= THRESHOLD else "uncertain")
    return answer


def bad(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    found = Problem.model_validate(document)
    assert (found.status, found.code) == (status, code)
    assert found.detail
    assert found.request_id == response.headers["x-request-id"]
    return document


def parts(*data: bytes) -> list[tuple[str, tuple[str, bytes, str]]]:
    return [("files", (f"{index}.png", item, "image/png")) for index, item in enumerate(data)]


def test_one_picture_as_form_or_as_body(engine: Engine, tmp_path: Path) -> None:
    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            by_files = good(await client.post("/predict", files=files_of(3000)))
            by_file = good(
                await client.post("/predict", files={"file": ("x.bmp", code_picture(3000))})
            )
            raw = good(
                await client.post(
                    "/predict",
                    content=code_picture(3000, format="BMP"),
                    headers={"content-type": "image/bmp"},
                )
            )
        found = [answer.predictions[0] for answer in (by_files, by_file, raw)]
        assert [item.filename for item in found] == ["3000.png", "x.bmp", None]
        for item in found:
            assert isinstance(item, Prediction)
            assert item.label == "mask"
            assert code_of(item.model_dump()) == 3000
        assert by_files.model.version == engine.manifest.version
        assert by_files.model.labels == list(TWO)

    wait(scene())


def test_many_pictures_are_answered_in_upload_order(engine: Engine, tmp_path: Path) -> None:
    codes = shuffled_codes(40)

    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            answer = good(await client.post("/predict", files=files_of(*codes)))
        assert [code_of(item.model_dump()) for item in answer.predictions] == codes
        assert [item.filename for item in answer.predictions] == [f"{code}.png" for code in codes]
        low, high = (
            [
                item
                for item in answer.predictions
                if isinstance(item, Prediction) and item.label == label
            ]
            for label in ("no_mask", "mask")
        )
        assert {code_of(item.model_dump()) < 2048 for item in low} == {True}
        assert {code_of(item.model_dump()) >= 2048 for item in high} == {True}

    wait(scene())


def test_requests_at_the_same_time_have_their_own_answers(
    engine: Engine, model: GatedModel, tmp_path: Path
) -> None:
    model.armed = True
    codes = shuffled_codes(60)

    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, state):
            asked = [
                asyncio.create_task(client.post("/predict", files=files_of(*codes[n : n + 3])))
                for n in range(0, 60, 3)
            ]
            await happens(model.entered)
            while state.budgets.pictures.held < 60:
                await asyncio.sleep(0)
            model.gate.set()
            for n, response in enumerate(await asyncio.gather(*asked)):
                found = [code_of(item.model_dump()) for item in good(response).predictions]
                assert found == codes[3 * n : 3 * n + 3]
            assert state.budgets.pictures.held == 0

    wait(scene())


def test_a_broken_picture_spoils_nothing_else(engine: Engine, tmp_path: Path) -> None:
    mixed = parts(code_picture(1), TORN, code_picture(2), b"", NOT_A_PICTURE, code_picture(3))

    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            response = await client.post("/predict", files=mixed)
        good(response)
        entries = response.json()["predictions"]
        assert [entry["filename"] for entry in entries] == [f"{n}.png" for n in range(6)]
        assert [entry["error"]["code"] for entry in entries if "error" in entry] == [
            "undecodable_image",
            "empty_picture",
            "unsupported_format",
        ]
        assert [code_of(entries[n]) for n in (0, 2, 5)] == [1, 2, 3]
        assert all(set(entries[n]) == {"index", "filename", "error"} for n in (1, 3, 4))

    wait(scene())


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (TORN, 422, "undecodable_image"),
        (b"", 400, "empty_picture"),
        (NOT_A_PICTURE, 415, "unsupported_format"),
        (encoded(Image.new("RGB", (33, 32)), "PNG"), 413, "image_too_large"),
    ],
    ids=["torn", "empty", "text", "large"],
)
def test_the_only_picture_that_is_broken_is_the_problem(
    data: bytes, status: int, code: str, tmp_path: Path
) -> None:
    publish_bundle(tmp_path)

    async def scene() -> None:
        async with serving(settings_of(tmp_path, max_pixels=1024)) as (client, state):
            while state.model_manager.engine is None:
                await asyncio.sleep(0)
            bad(await client.post("/predict", files=parts(data)), status, code)

    wait(scene())


def test_many_pictures_that_are_all_broken_are_listed(engine: Engine, tmp_path: Path) -> None:
    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            response = await client.post("/predict", files=parts(TORN, NOT_A_PICTURE))
        document = bad(response, 422, "nothing_readable")
        assert [(e["index"], e["filename"], e["code"]) for e in document["errors"]] == [
            (0, "0.png", "undecodable_image"),
            (1, "1.png", "unsupported_format"),
        ]

    wait(scene())


def test_what_the_upload_refuses_is_a_problem(engine: Engine, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, max_body_bytes=2000, max_files=2)
    empty, kind = form()

    async def stream() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x" * 1000

    async def scene() -> None:
        async with serving(settings, engine) as (client, _):

            async def post(content: Any, content_type: str) -> httpx.Response:
                return await client.post(
                    "/predict", content=content, headers={"content-type": content_type}
                )

            bad(await post(b"x" * 2001, "image/png"), 413, "body_too_large")
            bad(await post(stream(), "image/png"), 413, "body_too_large")
            bad(await client.post("/predict", files=files_of(1, 2, 3)), 413, "too_many_files")
            bad(await client.post("/predict", json={}), 415, "unsupported_media_type")
            bad(await client.post("/predict"), 415, "unsupported_media_type")
            bad(await post(b"", "image/png"), 400, "no_pictures")
            bad(await post(empty, kind), 400, "no_pictures")
            bad(await post(empty[:-9], kind), 400, "bad_upload")
            good(await client.post("/predict", files=files_of(1, 2)))

    wait(scene())


def test_unknown_places_and_methods_are_problems(engine: Engine, tmp_path: Path) -> None:
    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            bad(await client.get("/nowhere"), 404, "not_found")
            response = await client.get("/predict")
            bad(response, 405, "method_not_allowed")
            assert response.headers["allow"] == "POST"
            bad(await client.delete("/health"), 405, "method_not_allowed")
            bad(await client.get("/static-offline-docs/nothing.js"), 404, "not_found")

    wait(scene())


def test_without_a_model_callers_are_told_when_to_come_again(tmp_path: Path) -> None:
    async def scene() -> None:
        async with serving(settings_of(tmp_path / "none", poll_s=0.001)) as (client, state):
            response = await client.post("/predict", files=files_of(1))
            bad(response, 503, "no_model")
            assert response.headers["retry-after"] == "5"
            while state.model_manager.refusal is None:
                await asyncio.sleep(0)
            health = await client.get("/health")
            assert health.status_code == 503
            found = HealthAnswer.model_validate(health.json())
            assert (found.status, found.model) == ("no_model", None)
            assert found.refused is not None
            assert found.refused.version is None
            assert "training fit" in found.refused.reason

            bundle = await asyncio.to_thread(publish_bundle, tmp_path / "none", THREE)
            while state.model_manager.engine is None:
                await asyncio.sleep(0)
            answer = good(await client.post("/predict", files=files_of(77)))
            assert answer.model.version == bundle.manifest.version
            assert answer.model.labels == list(THREE)
            assert code_of(answer.predictions[0].model_dump()) == 77

    wait(scene())


def test_health_names_the_model_and_what_is_refused(tmp_path: Path) -> None:
    bundle = publish_bundle(tmp_path)

    async def scene() -> None:
        async with serving(settings_of(tmp_path, poll_s=0.001)) as (client, state):
            while state.model_manager.engine is None:
                await asyncio.sleep(0)
            response = await client.get("/health")
            assert response.status_code == 200
            found = HealthAnswer.model_validate(response.json())
            assert found.status == "ok"
            assert found.model is not None
            assert found.model.version == bundle.manifest.version
            assert found.model.labels == list(TWO)
            assert found.model.created_at == bundle.manifest.created_at
            assert found.model.backbone == "none"
            assert found.model.balanced_accuracy == 0.75
            assert found.refused is None
            assert found.uptime_s >= 0

            second = publish_bundle(tmp_path / ".aside")
            (second.path / MODEL).write_bytes(b"?")
            version = f"{int(second.path.name[:4]) + 1}{second.path.name[4:]}"
            manifest = second.path / MANIFEST
            manifest.write_text(manifest.read_text().replace(second.path.name, version))
            second.path.rename(tmp_path / version)
            set_current(tmp_path, version)
            while state.model_manager.refusal is None:
                await asyncio.sleep(0)
            found = HealthAnswer.model_validate((await client.get("/health")).json())
            assert found.status == "ok"
            assert found.model is not None
            assert found.model.version == bundle.manifest.version
            assert found.refused is not None
            assert found.refused.version == version
            assert "checksum" in found.refused.reason
            good(await client.post("/predict", files=files_of(1)))

    wait(scene())


def test_a_worker_that_has_ended_is_not_healthy(engine: Engine, tmp_path: Path) -> None:
    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            engine.close()
            while engine.alive():
                await asyncio.sleep(0)
            response = await client.get("/health")
            assert response.status_code == 503
            found = HealthAnswer.model_validate(response.json())
            assert found.status == "no_model"
            assert found.model is not None
            response = await client.post("/predict", files=files_of(1))
            bad(response, 503, "stopping")
            assert response.headers["retry-after"] == "1"

    wait(scene())


def test_a_full_service_says_so_and_has_room_again(
    engine: Engine, model: GatedModel, tmp_path: Path
) -> None:
    model.armed = True

    async def scene() -> None:
        async with serving(settings_of(tmp_path, max_waiting=2), engine) as (client, state):
            # Alone, a request may be larger than what may wait.
            first = asyncio.create_task(client.post("/predict", files=files_of(1, 2, 3)))
            await happens(model.entered)
            response = await client.post("/predict", files=files_of(4))
            bad(response, 429, "overloaded")
            assert response.headers["retry-after"] == "1"
            model.gate.set()
            assert len(good(await first).predictions) == 3
            assert state.budgets.pictures.held == 0
            good(await client.post("/predict", files=files_of(4)))

    wait(scene())


def test_who_finds_no_place_is_refused_before_the_upload_is_read(
    engine: Engine, model: GatedModel, tmp_path: Path
) -> None:
    model.armed = True

    async def endless() -> AsyncIterator[bytes]:
        yield b"x"
        raise AssertionError("the body was read")

    async def scene() -> None:
        async with serving(settings_of(tmp_path, max_waiting=1), engine) as (client, _):
            first = asyncio.create_task(client.post("/predict", files=files_of(1)))
            await happens(model.entered)
            headers = {"content-type": "image/png"}
            response = await client.post("/predict", content=endless(), headers=headers)
            bad(response, 429, "overloaded")
            model.gate.set()
            good(await first)

    wait(scene())


def test_who_waits_too_long_is_told_and_not_worked_for(
    engine: Engine, model: GatedModel, tmp_path: Path
) -> None:
    model.armed = True

    async def scene() -> None:
        async with serving(settings_of(tmp_path, deadline_s=0.3), engine) as (client, state):
            first = asyncio.create_task(client.post("/predict", files=files_of(1)))
            await happens(model.entered)
            late = await client.post("/predict", files=files_of(2))
            bad(late, 504, "deadline_passed")
            bad(await first, 504, "deadline_passed")
            asked = model.pictures
            model.gate.set()
            good(await client.post("/predict", files=files_of(3)))
            assert model.pictures == asked + 1  # the third, and not the second
            assert state.budgets.pictures.held == 0

    wait(scene())


def test_who_waits_too_long_is_told(engine: Engine, model: GatedModel, tmp_path: Path) -> None:
    model.armed = True

    async def scene() -> None:
        async with serving(settings_of(tmp_path, deadline_s=0.05), engine) as (client, state):
            document = bad(await client.post("/predict", files=files_of(1)), 504, "deadline_passed")
            assert document["detail"] == "No answer within 0.05 s."
            assert state.budgets.pictures.held == 0

    wait(scene())


def test_a_request_keeps_its_model_through_a_swap(
    engine: Engine, model: GatedModel, tmp_path: Path
) -> None:
    model.armed = True
    later = make_engine(publish_bundle(tmp_path, THREE))

    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, state):
            held = asyncio.create_task(client.post("/predict", files=files_of(11, 12)))
            await happens(model.entered)
            state.model_manager.serve(later)
            new = good(await client.post("/predict", files=files_of(13)))
            assert new.model.labels == list(THREE)
            assert new.model.version == later.manifest.version
            assert engine.alive()
            model.gate.set()
            old = good(await held)
            assert old.model.labels == list(TWO)
            assert old.model.version == engine.manifest.version
            codes = [code_of(e.model_dump()) for e in [*old.predictions, *new.predictions]]
            assert codes == [11, 12, 13]
            while engine.alive():
                await asyncio.sleep(0)
            assert later.alive()

    wait(scene())


@pytest.mark.parametrize("given", ["abc", "A-1_b.c", "x" * 128])
def test_a_plain_request_id_is_echoed(given: str, engine: Engine, tmp_path: Path) -> None:
    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            headers = {"X-Request-ID": given}
            answer = good(await client.post("/predict", files=files_of(1), headers=headers))
            assert answer.request_id == given
            document = bad(await client.get("/nowhere", headers=headers), 404, "not_found")
            assert document["request_id"] == given

    wait(scene())


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "<script>", "a\tb", "\xe4", "a,b"])
def test_any_other_request_id_is_replaced(given: str, engine: Engine, tmp_path: Path) -> None:
    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            headers = {b"X-Request-ID": given.encode("latin-1")}
            ids = {
                (await client.get("/health", headers=headers)).headers["x-request-id"]
                for _ in range(3)
            }
            assert len(ids) == 3
            assert all(re.fullmatch("[0-9a-f]{32}", found) for found in ids)

    wait(scene())


def test_only_http_requests_get_an_id() -> None:
    seen: list[dict[str, Any]] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope)

    async def nothing(*_: Any) -> Any:
        raise AssertionError

    wait(RequestIdMiddleware(app)({"type": "websocket", "headers": []}, nothing, nothing))
    assert seen == [{"type": "websocket", "headers": []}]


def test_a_failing_engine_is_a_500_for_that_request_only(
    engine: Engine, model: GatedModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            model.failure = RuntimeError("kernel at /secret/path")
            headers = {"X-Request-ID": "the-failing-one"}
            response = await client.post("/predict", files=files_of(1), headers=headers)
            document = bad(response, 500, "internal_error")
            assert document["request_id"] == "the-failing-one"
            assert "secret" not in response.text
            model.failure = None
            good(await client.post("/predict", files=files_of(1)))
            assert (await client.get("/health")).status_code == 200

    wait(scene())
    assert "kernel at /secret/path" in caplog.text


def test_a_bug_is_a_bare_500_with_its_id_and_is_logged(
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("the inside")

    monkeypatch.setattr(predict, "picture_entries", broken)

    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, state):
            headers = {"X-Request-ID": "mine"}
            response = await client.post("/predict", files=files_of(1), headers=headers)
            assert bad(response, 500, "internal_error")["request_id"] == "mine"
            assert "inside" not in response.text
            assert response.headers.get_list("x-request-id") == ["mine"]
            assert state.budgets.pictures.held == 0

    wait(scene())
    assert "ValueError: the inside" in caplog.text


def test_a_client_that_leaves_while_it_uploads_is_no_failure(
    engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    body, kind = form(("files", "a.png", code_picture(1)))
    messages: Iterator[Message] = iter(
        [
            {"type": "http.request", "body": body[:50], "more_body": True},
            {"type": "http.disconnect"},
        ]
    )
    sent: list[Message] = []
    app = create_app(settings_of(tmp_path), engine)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/predict",
        "raw_path": b"/predict",
        "query_string": b"",
        "headers": [(b"content-type", kind.encode())],
    }

    async def receive() -> Message:
        return next(messages)

    async def send(message: Message) -> None:
        sent.append(message)

    async def scene() -> None:
        async with app.router.lifespan_context(app):
            await app(scope, receive, send)

    with caplog.at_level(logging.WARNING):
        wait(scene())
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert sent[0]["status"] == 400


def test_what_was_begun_is_ended_with_the_application(tmp_path: Path) -> None:
    publish_bundle(tmp_path)
    engines: list[Engine] = []

    async def scene() -> None:
        async with serving(settings_of(tmp_path, poll_s=0.001)) as (client, state):
            while state.model_manager.engine is None:
                await asyncio.sleep(0)
            engines.append(state.model_manager.engine)
            good(await client.post("/predict", files=files_of(1)))
        assert state.model_manager.engine is None
        while engines[0].alive():
            await asyncio.sleep(0)

    wait(scene())
    assert not engines[0].alive()


def test_logging_goes_to_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    root = logging.Logger("root")
    make: Callable[..., logging.StreamHandler[io.StringIO]] = logging.StreamHandler
    monkeypatch.setattr(logging, "root", root)
    for name in ("logThreads", "logProcesses", "logMultiprocessing"):
        monkeypatch.setattr(logging, name, True)
    monkeypatch.setattr(logging, "StreamHandler", lambda *_: make(stream))
    configure_logging()
    root.info("hello")
    assert re.fullmatch(r"[\d: ,-]+ INFO root: hello\n", stream.getvalue())


def test_an_unsure_answer_is_uncertain(engine: Engine, tmp_path: Path) -> None:
    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            answer = good(await client.post("/predict", files=files_of(2048, 4000, 100)))
        decisions = [item.model_dump()["decision"] for item in answer.predictions]
        assert decisions == ["uncertain", "mask", "no_mask"]

    wait(scene())


def test_the_activation_map_is_of_the_label_and_comes_if_asked_for(
    engine: Engine, tmp_path: Path
) -> None:
    # Left half: the highest code; right half: one that speaks for the other class.
    halves = Image.new("RGB", (SIZE_PX, SIZE_PX), (15, 255, 0))
    halves.paste((7, 0, 0), (SIZE_PX // 2, 0, SIZE_PX, SIZE_PX))
    pictures = parts(encoded(halves, "PNG"), TORN, code_picture(100))

    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            found = []
            for query in ("?explain=true", "?explain=false", ""):
                response = await client.post(f"/predict{query}", files=pictures)
                good(response)
                found.append(response.json()["predictions"])
            for query in ("?explain=1", "?explain=", "?explain=True"):
                response = await client.post(f"/predict{query}", files=pictures)
                bad(response, 400, "bad_query")
        explained, refused, plain = found
        assert refused == plain
        assert [set(a) - set(b) for a, b in zip(explained, plain, strict=True)] == [
            {"activation"}, set(), {"activation"}
        ]  # fmt: skip
        assert explained[0]["label"] == "mask"
        row = [1.0, 1.0, 0.0, 0.0]  # what speaks against the label is nothing
        assert explained[0]["activation"] == {"rows": 4, "columns": 4, "values": [row] * 4}
        # The other class of the tests' model speaks for itself nowhere.
        assert explained[2]["label"] == "no_mask"
        assert explained[2]["activation"]["values"] == [[0.0] * 4] * 4

    wait(scene())


def test_the_report_is_the_bundle_s(tmp_path: Path) -> None:
    page = b"<!doctype html><title>how good it is</title>"
    with_report = publish_bundle(tmp_path / "with", documents={"report.html": page})
    without = publish_bundle(tmp_path / "without")

    async def scene() -> None:
        for bundle, status in ((with_report, 200), (without, 404)):
            engine = make_engine(bundle)
            async with serving(settings_of(tmp_path), engine) as (client, _):
                response = await client.get("/report")
                linked = (await client.get("/health")).json()["model"]["report"]
            engine.close()
            assert response.status_code == status
            assert (linked == "/report") == (status == 200)
            if status == 200:
                assert response.content == page
                assert "default-src 'self'" in response.headers["content-security-policy"]
            else:
                bad(response, 404, "not_found")
        async with serving(settings_of(tmp_path / "none")) as (client, _):
            bad(await client.get("/report"), 503, "no_model")

    wait(scene())

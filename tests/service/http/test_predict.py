"""POST /predict, through the whole application except the network."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from starlette.types import Message

from models.bundle.load import Bundle
from service.app import create_app
from service.http import predict
from service.http.openapi.schemas import HealthAnswer, Prediction
from service.inference import decision
from service.inference.engine import Engine
from tests.service.fixtures import (
    CODES,
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
from tests.service.http.checks import bad, good

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


def parts(*data: bytes) -> list[tuple[str, tuple[str, bytes, str]]]:
    return [("files", (f"{index}.png", item, "image/png")) for index, item in enumerate(data)]


def test_predict_answers_one_picture_as_form_or_raw_body(engine: Engine, tmp_path: Path) -> None:
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


def test_predict_answers_many_pictures_in_upload_order(engine: Engine, tmp_path: Path) -> None:
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


def test_concurrent_requests_receive_their_own_answers(
    engine: Engine, model: GatedModel, tmp_path: Path
) -> None:
    model.armed = True
    codes = shuffled_codes(60)

    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, state):
            tasks = [
                asyncio.create_task(client.post("/predict", files=files_of(*codes[n : n + 3])))
                for n in range(0, 60, 3)
            ]
            await happens(model.entered)
            while state.budgets.pictures.held < 60:
                await asyncio.sleep(0)
            model.gate.set()
            for n, response in enumerate(await asyncio.gather(*tasks)):
                found = [code_of(item.model_dump()) for item in good(response).predictions]
                assert found == codes[3 * n : 3 * n + 3]
            assert state.budgets.pictures.held == 0

    wait(scene())


def test_predict_returns_an_error_entry_for_a_broken_picture_among_others(
    engine: Engine, tmp_path: Path
) -> None:
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
def test_predict_returns_the_error_of_a_single_broken_picture(
    data: bytes, status: int, code: str, tmp_path: Path
) -> None:
    publish_bundle(tmp_path)

    async def scene() -> None:
        async with serving(settings_of(tmp_path, max_pixels=1024)) as (client, state):
            while state.model_manager.engine is None:
                await asyncio.sleep(0)
            bad(await client.post("/predict", files=parts(data)), status, code)

    wait(scene())


def test_predict_returns_422_with_all_errors_if_nothing_is_readable(
    engine: Engine, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            response = await client.post("/predict", files=parts(TORN, NOT_A_PICTURE))
        document = bad(response, 422, "nothing_readable")
        assert [(e["index"], e["filename"], e["code"]) for e in document["errors"]] == [
            (0, "0.png", "undecodable_image"),
            (1, "1.png", "unsupported_format"),
        ]

    wait(scene())


def test_predict_returns_a_problem_for_every_refused_upload(engine: Engine, tmp_path: Path) -> None:
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


def test_unknown_paths_and_methods_return_problems(engine: Engine, tmp_path: Path) -> None:
    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            bad(await client.get("/nowhere"), 404, "not_found")
            response = await client.get("/predict")
            bad(response, 405, "method_not_allowed")
            assert response.headers["allow"] == "POST"
            bad(await client.delete("/health"), 405, "method_not_allowed")
            bad(await client.get("/static-offline-docs/nothing.js"), 404, "not_found")

    wait(scene())


def test_predict_returns_503_with_retry_after_until_there_is_a_model(tmp_path: Path) -> None:
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


def test_predict_returns_429_while_full_and_recovers(
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


def test_predict_returns_429_before_the_body_is_read(
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


def test_predict_drops_queued_pictures_after_the_deadline(
    engine: Engine, model: GatedModel, tmp_path: Path
) -> None:
    model.armed = True

    async def scene() -> None:
        async with serving(settings_of(tmp_path, deadline_s=2), engine) as (client, state):
            first = asyncio.create_task(client.post("/predict", files=files_of(1)))
            await happens(model.entered)
            late = await client.post("/predict", files=files_of(2))
            bad(late, 504, "deadline_passed")
            bad(await first, 504, "deadline_passed")
            answered = model.pictures
            model.gate.set()
            good(await client.post("/predict", files=files_of(3)))
            assert model.pictures == answered + 1  # the third, and not the second
            assert state.budgets.pictures.held == 0

    wait(scene())


def test_predict_returns_504_after_deadline(
    engine: Engine, model: GatedModel, tmp_path: Path
) -> None:
    model.armed = True

    async def scene() -> None:
        async with serving(settings_of(tmp_path, deadline_s=0.05), engine) as (client, state):
            document = bad(await client.post("/predict", files=files_of(1)), 504, "deadline_passed")
            assert document["detail"] == "No answer within 0.05 s."
            assert state.budgets.pictures.held == 0

    wait(scene())


def test_request_keeps_its_model_through_a_swap(
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


def test_failed_batch_returns_500_for_its_request_only(
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


def test_unexpected_error_returns_a_bare_500_and_is_logged(
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


def test_client_that_disconnects_during_the_upload_logs_no_warning(
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


def test_engine_ends_with_the_application(tmp_path: Path) -> None:
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


def test_decision_is_uncertain_below_the_threshold(engine: Engine, tmp_path: Path) -> None:
    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            answer = good(await client.post("/predict", files=files_of(2048, 4000, 100)))
        decisions = [item.model_dump()["decision"] for item in answer.predictions]
        assert decisions == ["uncertain", "mask", "no_mask"]

    wait(scene())


_TRUE_WORDS = ("true", "True", "TRUE", "1", "yes", "Yes", "on", "t", "y", "", "%20true")


@pytest.mark.parametrize(
    ("query", "explained"),
    [(f"?explain={word}", True) for word in _TRUE_WORDS]
    + [(f"?explain={word}", False) for word in ("false", "False", "0", "no", "OFF", "f", "n")]
    + [
        ("?explain", True),
        ("?threshold&explain&framing", True),
        ("?explain=false&explain=1", True),
        ("?explain=True&explain=no", False),
        ("?explain=wrong&explain=no", False),
        ("?", False),
    ],
)
def test_boolean_query_accepts_common_words(query: str, explained: bool, tmp_path: Path) -> None:
    engine = make_engine(publish_bundle(tmp_path))

    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            response = await client.post(f"/predict{query}", files=files_of(1))
            good(response)
            assert ("activation" in response.json()["predictions"][0]) == explained

    wait(scene())


def test_explain_adds_the_activation_map_of_the_label(engine: Engine, tmp_path: Path) -> None:
    # Left half: the highest code; right half: one that speaks for the other class.
    halves = Image.new("RGB", (SIZE_PX, SIZE_PX), (15, 255, 0))
    halves.paste((7, 0, 0), (SIZE_PX // 2, 0, SIZE_PX, SIZE_PX))
    pictures = parts(encoded(halves, "PNG"), TORN, code_picture(100))

    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            found = []
            for query in ("?explain=TRUE", "?explain=false", ""):
                response = await client.post(f"/predict{query}", files=pictures)
                good(response)
                found.append(response.json()["predictions"])
            for query in ("?explain=2", "?explain=maybe", "?explain=true,false", "?explain=None"):
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


@pytest.mark.parametrize("setting", [None, 0.9])
def test_predict_decides_by_the_threshold_of_query_settings_or_model(
    setting: float | None, bundle: Bundle, tmp_path: Path
) -> None:
    settings = settings_of(tmp_path, threshold=setting)
    engine = Engine(bundle, threads=1, threshold=settings.threshold)

    async def scene() -> None:
        picture = {"files": code_picture(2800)}  # a score of 0.81
        async with serving(settings, engine) as (client, _):
            default = THRESHOLD if setting is None else setting
            for query, threshold in (("", default), ("?threshold=", default)):
                answer = good(await client.post(f"/predict{query}", files=picture))
                assert answer.threshold == threshold
            for word, decision in (("0.5", "mask"), ("1", "uncertain"), (" 8.2e-1 ", "uncertain")):
                answer = good(await client.post(f"/predict?threshold={word}", files=picture))
                assert answer.threshold == float(word)
                assert answer.predictions[0].model_dump()["decision"] == decision
            health = HealthAnswer.model_validate((await client.get("/health")).json())
            assert health.model is not None
            assert health.model.threshold == default

    wait(scene())


@pytest.mark.parametrize("word", ["1.01", "-0.1", "nan", "inf", "half", "0_1", "0,5", "\u0660"])
def test_predict_refuses_a_threshold_outside_0_to_1(
    word: str, engine: Engine, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            response = await client.post("/predict", params={"threshold": word}, files=files_of(1))
        problem = bad(response, 400, "bad_query")
        assert problem["detail"] == "threshold must be a number from 0 to 1."

    wait(scene())


def test_predict_gives_an_unfamiliar_picture_no_class(engine: Engine, tmp_path: Path) -> None:
    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            answer = await client.post("/predict?threshold=0", files=files_of(CODES - 1))
            good(answer)
            (entry,) = answer.json()["predictions"]
            assert (entry["decision"], entry["label"]) == ("unfamiliar", "mask")
            assert entry["familiar"] is False
            assert entry["score"] > 0.9
            metrics = (await client.get("/metrics")).text
        assert 'facemask_decisions_total{decision="unfamiliar"} 1.0' in metrics

    wait(scene())


def test_predict_rounds_scores_to_6_decimals(engine: Engine, tmp_path: Path) -> None:
    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            entries = (await client.post("/predict", files=files_of(1, 1999))).json()["predictions"]
            outcomes = await engine.predict([code_picture(1), code_picture(1999)])
        for entry, exact in zip(entries, outcomes, strict=True):
            values = [entry["score"], entry["distance"], *entry["scores"].values()]
            assert [round(value, 6) for value in values] == values
            assert isinstance(exact, decision.Prediction)
            assert entry["score"] == pytest.approx(exact.score, abs=5e-7)
            assert exact.score != entry["score"]

    wait(scene())


def test_unknown_query_parameter_is_answered_400(tmp_path: Path) -> None:
    engine = make_engine(publish_bundle(tmp_path))

    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            for query, name in (("topk=1", "topk"), ("explain&treshold=0.9", "treshold")):
                response = await client.post(f"/predict?{query}", files=files_of(5))
                detail = bad(response, 400, "bad_query")["detail"]
                assert detail.startswith(f"'{name}' is no parameter of /predict: it has explain, ")

    wait(scene())

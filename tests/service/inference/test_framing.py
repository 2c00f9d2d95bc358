"""The second pass: the main face of a picture whose whole is unfamiliar or uncertain."""

import asyncio
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from models.bundle import load
from models.bundle.load import Bundle, open_bundle
from models.errors import DetectorUnavailable, ImageTooCostly
from models.imaging.decode import decode_image
from models.imaging.framing import FRAMER, Framing
from service.http.openapi.schemas import Prediction as PredictionSchema
from service.inference import decoder, engine
from service.inference.batching.errors import DeadlineExceeded
from service.inference.decision import AnswerOptions, Prediction
from service.inference.engine import Engine
from tests.models.imaging.test_framing import StubDetector
from tests.service.fixtures import (
    SIZE_PX,
    GatedModel,
    code_of,
    code_picture,
    encoded,
    happens,
    make_engine,
    publish_bundle,
    serving,
    settings_of,
    wait,
)
from tests.service.http.checks import bad, good

FRAMING = Framing((0.5, 0.5, 0.5, 0.5), beyond=0.2, below=0.75)
FACE = (280, 200, 320, 240)
CROP = (260, 180, 340, 260)
PAINTED = (252, 172, 348, 268)  # wider: resizing mixes the pixels at an edge
BOX = {"left": 260, "top": 180, "width": 80, "height": 80}


def photograph(background: int = 4095, face: int = 3000) -> bytes:
    """Return a photograph of one code, with a face of another; see `code_picture`."""
    image = Image.new("RGB", (640, 480), (background // 256, background % 256, 7))
    image.paste((face // 256, face % 256, 7), PAINTED)
    return encoded(image, "PNG")


@pytest.fixture(scope="module", name="bundle")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    published = publish_bundle(tmp_path_factory.mktemp("store"))
    return dataclasses.replace(published, framing=FRAMING)


@pytest.fixture(name="detector", autouse=True)
def _detector(monkeypatch: pytest.MonkeyPatch) -> StubDetector:
    detector = StubDetector(640, (FACE, 0.9))
    for module in (decoder, engine):
        monkeypatch.setattr(module, "load_detector", lambda: detector)
    return detector


@pytest.fixture(name="engine")
def _engine(bundle: Bundle) -> Iterator[Engine]:
    made = make_engine(bundle)
    yield made
    made.close()


def predict(made: Engine, *pictures: Any, **options: Any) -> list[Prediction]:
    outcomes = wait(made.predict(pictures, AnswerOptions(**options)))
    assert all(isinstance(outcome, Prediction) for outcome in outcomes)
    return [outcome for outcome in outcomes if isinstance(outcome, Prediction)]


def code_in(prediction: Prediction) -> int:
    return code_of({"scores": prediction.scores})


def facts(**changes: Any) -> dict[str, Any]:
    known = {"framer": FRAMER, "searched": 9, "framed": 9, "margins": [0.5] * 4, "beyond": 0.2}
    return known | changes


def opened(store: Path, framing: dict[str, Any] | None) -> Bundle:
    """Publish a bundle, set its framing, and open it."""
    path = publish_bundle(store).path
    manifest = json.loads((path / "manifest.json").read_text()) | {"framing": framing}
    (path / "manifest.json").write_text(json.dumps(manifest))
    return open_bundle(path)


def test_a_bundle_brings_its_framing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "load_detector", lambda: None)
    assert opened(tmp_path, facts()).framing == FRAMING
    assert opened(tmp_path, None).framing is None


def test_a_service_without_a_detector_logs_that_pictures_stay_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> None:
        raise DetectorUnavailable("Finding faces needs the extra 'faces'.")

    monkeypatch.setattr(load, "load_detector", refuse)
    bundle = opened(tmp_path, facts())
    assert bundle.framing is None
    assert "answered whole" in caplog.text
    assert "needs the extra 'faces'" in caplog.text
    made = make_engine(bundle)
    try:
        (found,) = predict(made, photograph())
    finally:
        made.close()
    assert (found.decision, found.framed) == ("unfamiliar", None)


def test_a_bundle_framed_by_another_method_stays_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(load, "load_detector", lambda: None)
    assert opened(tmp_path, facts(framer="another")).framing is None
    assert "by another, and this version frames by" in caplog.text


def test_an_unfamiliar_photograph_is_answered_by_its_main_face(engine: Engine) -> None:
    (found,) = predict(engine, photograph())
    (whole,) = predict(engine, photograph(), whole=True)
    assert (code_in(found), found.decision, found.familiar) == (3000, "mask", True)
    assert found.framed is not None
    assert (found.framed.box, found.framed.further) == (CROP, 0)
    assert (whole.decision, whole.framed) == ("unfamiliar", None)


def test_an_uncertain_photograph_is_answered_by_its_nearer_face(engine: Engine) -> None:
    (found,) = predict(engine, photograph(2048, face=1000))
    assert (code_in(found), found.decision) == (1000, "no_mask")


def test_a_face_farther_than_the_whole_changes_nothing(engine: Engine) -> None:
    (found,) = predict(engine, photograph(2048, face=2300))
    assert (found.decision, found.framed) == ("uncertain", None)
    assert code_in(found) < 2100


def test_a_sure_and_familiar_picture_is_not_searched(
    engine: Engine, detector: StubDetector
) -> None:
    (found,) = predict(engine, photograph(3000, face=1000))
    assert found.framed is None
    assert not detector.searched


def test_a_threshold_of_the_request_searches_no_more_pictures(
    engine: Engine, detector: StubDetector
) -> None:
    (found,) = predict(engine, photograph(3000, face=1000), threshold=1.0)
    assert found.decision == "uncertain"
    assert not detector.searched


def test_pixels_are_never_searched(engine: Engine, detector: StubDetector) -> None:
    predict(engine, decode_image(photograph(), size=SIZE_PX))
    assert not detector.searched


def test_answers_of_both_passes_stay_in_order(engine: Engine) -> None:
    pictures = [code_picture(3000), photograph(), b"torn", photograph(face=2900), photograph(700)]
    outcomes = wait(engine.predict(pictures))
    assert [
        code_in(outcome) if isinstance(outcome, Prediction) else outcome.code
        for outcome in outcomes[:4]
    ] == [3000, 3000, "unsupported_format", 2900]
    assert isinstance(outcomes[4], Prediction)
    assert outcomes[4].framed is None


def test_activation_is_of_the_framed_part(engine: Engine) -> None:
    (found,) = predict(engine, photograph(), explain=True)
    assert found.activation is not None
    assert found.activation.mean().item() == pytest.approx((3000 - 2048) / 512)


def test_a_picture_that_is_too_costly_to_search_keeps_its_whole_answer(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise ImageTooCostly("It takes too long.")

    monkeypatch.setattr(decoder, "orient", refuse)
    (found,) = predict(engine, photograph())
    assert (found.decision, found.framed) == ("unfamiliar", None)


def test_the_second_pass_keeps_the_deadline(bundle: Bundle) -> None:
    model = GatedModel(bundle)
    gated = make_engine(bundle, model)

    now = 0.0
    gated._batcher._clock = lambda: now

    async def scene() -> None:
        nonlocal now
        model.armed = True
        task = asyncio.create_task(gated.predict([photograph()], deadline=1.0))
        await happens(model.entered)
        now = 2.0
        model.gate.set()
        with pytest.raises(DeadlineExceeded):
            await task

    try:
        wait(scene())
        assert model.pictures > 0
    finally:
        gated.close()


def test_both_passes_hold_one_reservation(bundle: Bundle, tmp_path: Path) -> None:
    model = GatedModel(bundle)

    async def scene() -> None:
        async with serving(settings_of(tmp_path), make_engine(bundle, model)) as (client, state):
            answer = await client.post("/predict", files={"files": photograph()})
            assert state.budgets.pictures.held == state.budgets.pixels.held == 0
            model.armed = True
            task = asyncio.create_task(client.post("/predict", files={"files": photograph()}))
            await happens(model.entered)
            assert (state.budgets.pictures.held, state.budgets.pixels.held) == (1, 640 * 480)
            model.gate.set()
            assert (await task).json()["predictions"] == answer.json()["predictions"]
            assert state.budgets.pictures.held == 0

    wait(scene())


def test_predict_returns_the_part_that_was_classified(bundle: Bundle, tmp_path: Path) -> None:
    async def scene() -> None:
        async with serving(settings_of(tmp_path), make_engine(bundle)) as (client, _):
            for query, framing, box, further in (
                ("", "face", BOX, 0),
                ("?framing=auto", "face", BOX, 0),
                ("?framing=whole", "whole", None, None),
            ):
                answer = await client.post(f"/predict{query}", files={"files": photograph()})
                (item,) = good(answer).predictions
                assert isinstance(item, PredictionSchema)
                assert (item.framing, item.further_faces) == (framing, further)
                assert (item.box.model_dump() if item.box else None) == box
            problem = bad(
                await client.post("/predict?framing=faces", files={"files": photograph()}),
                *(400, "bad_query"),
            )
            assert problem["detail"] == "framing must be auto or whole."
            health = (await client.get("/health")).json()
            assert health["model"]["framing"] == "face"
            metrics = (await client.get("/metrics")).text
            assert "facemask_framed_total 2.0" in metrics

    wait(scene())


def test_infer_frames_pictures_unless_a_parameter_keeps_them_whole(
    bundle: Bundle, tmp_path: Path
) -> None:
    data = photograph()
    tensor = len(data).to_bytes(4, "little") + data
    url = "/v2/models/facemask/infer"

    async def scene() -> list[str]:
        found = []
        async with serving(settings_of(tmp_path), make_engine(bundle)) as (client, _):
            for parameters in ("{}", '{"framing": "whole"}', '{"framing": "face"}'):
                head = (
                    '{"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", '
                    f'"parameters": {{"binary_data_size": {len(tensor)}}}}}], '
                    f'"parameters": {parameters}}}'
                ).encode()
                answer = await client.post(
                    url,
                    content=head + tensor,
                    headers={
                        "content-type": "application/octet-stream",
                        "inference-header-content-length": str(len(head)),
                    },
                )
                outputs = {one["name"]: one["data"] for one in answer.json().get("outputs", [])}
                found.append(outputs.get("decision", [answer.json().get("code")])[0])
        return found

    assert wait(scene()) == ["mask", "unfamiliar", "bad_inference"]


def test_faces_are_cut_out_as_in_training(engine: Engine) -> None:
    (found,) = wait(engine.predict_faces([photograph()], max_faces=4))
    (face,) = found.predictions  # type: ignore[union-attr]
    assert face.face is not None
    assert face.face.square == CROP
    assert code_in(face) == 3000

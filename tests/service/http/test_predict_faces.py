"""POST /predict?faces=true: one answer per face, its box, and the limits."""

import asyncio
import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from torch import Tensor

from models.bundle.load import Bundle
from models.bundle.manifest import CropFacts
from models.errors import FileTooLarge
from models.imaging import face_detector
from models.imaging.faces import CROPPER, open_oriented
from models.imaging.memory import FILE_COPIES, searching_bytes
from models.imaging.open import open_image
from service.http.openapi.schemas import PredictAnswer
from service.inference.decision import PictureFaces
from service.inference.engine import Engine
from service.limits.budget import Budget
from service.limits.memory_bound import DecodingBudgets
from tests.models.imaging.face_pictures import (
    SIZE,
    needs_detector,
    nobody_file,
    people_file,
    person_at,
)
from tests.service.fixtures import (
    SIZE_PX,
    GatedModel,
    code_picture,
    happens,
    make_engine,
    publish_bundle,
    serving,
    settings_of,
    wait,
)

TORN = code_picture(7)[:60]


@pytest.fixture(scope="module", name="bundle")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return publish_bundle(tmp_path_factory.mktemp("store"))


@pytest.fixture(name="no_detector")
def _no_detector(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(face_detector, "PACKAGE", "no_such_package")
    face_detector._load.cache_clear()
    yield
    face_detector._load.cache_clear()


class RecordingBudget(Budget):
    """Budget that records the amounts that passed."""

    def __init__(self) -> None:
        super().__init__()
        self.amounts: list[int] = []

    @contextlib.contextmanager
    def wait(self, amount: int) -> Iterator[None]:
        self.amounts.append(amount)
        with super().wait(amount):
            yield


def post_pictures(bundle: Bundle, query: str, *files: bytes, **values: Any) -> httpx.Response:
    async def scene() -> httpx.Response:
        async with serving(settings_of(bundle.path, **values), make_engine(bundle)) as (client, _):
            parts = [("files", (f"{place}.png", data)) for place, data in enumerate(files)]
            return await client.post(f"/predict{query}", files=parts)

    return wait(scene())


@needs_detector
def test_faces_true_returns_each_face_with_its_box(bundle: Bundle) -> None:
    files = people_file(), TORN, nobody_file()
    response = post_pictures(bundle, "?faces=true&explain=true", *files)
    assert response.status_code == 200
    PredictAnswer.model_validate(response.json())
    people, torn, nobody = response.json()["predictions"]
    assert (people["index"], people["filename"]) == (0, "0.png")
    assert [people["width"], people["height"]] == list(SIZE)
    boxes = [face["box"] for face in people["faces"]]
    found = [person_at(b["left"] + b["width"] / 2, b["top"] + b["height"] / 2) for b in boxes]
    assert sorted(map(str, found)) == ["0", "1", "2"]
    for face in people["faces"]:
        assert face["label"] in face["scores"]
        assert face["score"] == max(face["scores"].values())
        assert face["activation"]["rows"] == 4
    assert people["faces_left_out"] == 0
    assert torn["error"]["code"] == "undecodable_image"
    assert (nobody["faces"], nobody["faces_left_out"]) == ([], 0)


@needs_detector
def test_model_receives_the_square_around_each_face(bundle: Bundle) -> None:
    given: list[Tensor] = []

    def model(pixels: Tensor) -> Any:
        given.extend(pixels)
        return bundle.model(pixels)

    async def scene() -> list[dict[str, Any]]:
        engine = make_engine(bundle, model)
        given.clear()  # of the warm-up
        async with serving(settings_of(bundle.path), engine) as (client, _):
            response = await client.post("/predict?faces=true", files={"files": people_file()})
            found: list[dict[str, Any]] = response.json()["predictions"][0]["faces"]
            return found

    picture = open_oriented(people_file())
    squares = [face["square"] for face in wait(scene())]
    edges = [(s["left"], s["top"], s["left"] + s["width"], s["top"] + s["height"]) for s in squares]
    wanted = [picture.cut(square, SIZE_PX) for square in edges]
    assert torch.equal(torch.stack(given), torch.stack(wanted))


@needs_detector
def test_faces_beyond_max_faces_are_counted(bundle: Bundle) -> None:
    (entry,) = post_pictures(bundle, "?faces=true", people_file(), max_faces=2).json()[
        "predictions"
    ]
    assert (len(entry["faces"]), entry["faces_left_out"]) == (2, 1)
    scores = [face["face_score"] for face in entry["faces"]]
    assert scores == sorted(scores, reverse=True)


@needs_detector
def test_faces_true_returns_a_problem_if_nothing_is_readable(bundle: Bundle) -> None:
    assert post_pictures(bundle, "?faces=true", TORN).json()["code"] == "undecodable_image"
    assert post_pictures(bundle, "?faces=true", TORN, b"").json()["code"] == "nothing_readable"


@needs_detector
def test_faces_of_one_picture_are_run_in_batches_at_once(bundle: Bundle) -> None:
    sizes: list[int] = []

    def model(pixels: Tensor) -> Any:
        sizes.append(len(pixels))
        return bundle.model(pixels)

    engine = make_engine(bundle, model, max_batch=2)
    sizes.clear()  # of the warm-up
    found = wait(engine.predict_faces([people_file(), people_file()], max_faces=3))
    assert sizes == [2, 1, 2, 1]
    assert [len(each.predictions) for each in found if isinstance(each, PictureFaces)] == [3, 3]
    engine.close()


@needs_detector
def test_picture_reserves_one_place_and_metrics_count_its_faces(bundle: Bundle) -> None:
    model = GatedModel(bundle)
    engine = make_engine(bundle, model)

    async def scene() -> None:
        settings = settings_of(bundle.path, max_waiting=1)
        async with serving(settings, engine) as (client, state):
            model.armed = True
            parts = {"files": people_file()}
            first = asyncio.create_task(client.post("/predict?faces=true", files=parts))
            await happens(model.entered)
            assert (state.budgets.pictures.held, state.budgets.pixels.held) == (1, 900 * 500)
            refused = await client.post("/predict?faces=true", files=parts)
            assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
            model.gate.set()
            assert (await first).status_code == 200
            assert state.budgets.pictures.held == 0
            figures = (await client.get("/metrics")).text
            counted = [
                float(line.split()[-1])
                for line in figures.splitlines()
                if line.startswith("facemask_decisions_total")
            ]
            assert sum(counted) == 3

    wait(scene())


@needs_detector
@pytest.mark.parametrize("crops", [False, True])
def test_file_limits_and_budgets_apply_to_faces(bundle: Bundle, crops: bool) -> None:
    files, pixels = RecordingBudget(), RecordingBudget()
    manifest = bundle.manifest
    if crops:
        facts = CropFacts(name="faces", cropper=CROPPER)
        manifest = manifest.model_copy(update={"crop": facts})
    engine = Engine(
        dataclasses.replace(bundle, manifest=manifest),
        threads=1,
        max_batch=1,
        max_file_bytes=len(people_file()),
        budgets=DecodingBudgets(files, pixels),
    )
    pictures = [people_file(), people_file() + b"x"]
    answers: list[object] = []
    if crops:
        answers += wait(engine.predict(pictures))
    else:
        answers += wait(engine.predict_faces(pictures, max_faces=3))
    assert isinstance(answers[1], FileTooLarge)
    assert files.amounts == [FILE_COPIES * len(data) for data in pictures]
    assert pixels.amounts == [searching_bytes(open_image(people_file()))]
    engine.close()


@needs_detector
@pytest.mark.parametrize("query", ["?faces=1", "?faces", "?faces=YES", "?faces=True"])
def test_faces_query_accepts_common_boolean_words(query: str, bundle: Bundle) -> None:
    answer = post_pictures(bundle, query, people_file())
    assert answer.status_code == 200
    assert "faces" in answer.json()["predictions"][0]


@needs_detector
@pytest.mark.parametrize("query", ["?faces=2", "?faces=all", "?faces=true&faces=some"])
def test_invalid_faces_query_returns_bad_query(query: str, bundle: Bundle) -> None:
    assert post_pictures(bundle, query, people_file()).json()["code"] == "bad_query"


def test_faces_true_returns_501_without_a_detector(no_detector: None, bundle: Bundle) -> None:
    response = post_pictures(bundle, "?faces=true", code_picture(1))
    assert (response.status_code, response.json()["code"]) == (501, "faces_unavailable")
    assert "pip install" in response.json()["detail"]
    assert post_pictures(bundle, "?faces=false", code_picture(1)).status_code == 200


def test_health_returns_whether_a_detector_is_installed(
    no_detector: None, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def scene() -> bool:
        async with serving(settings_of(tmp_path), make_engine(bundle)) as (client, _):
            installed: bool = (await client.get("/health")).json()["faces"]
            return installed

    assert not wait(scene())
    monkeypatch.setattr(face_detector, "PACKAGE", "torch")
    assert wait(scene())

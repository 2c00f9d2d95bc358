"""`python -m models compare` answers as the service does, picture by picture."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from models.bundle import compare, second_pass
from models.bundle.compare import compare_bundles
from models.bundle.load import Bundle
from models.imaging.framing import Framing
from service.inference import decoder, engine
from service.inference.decision import Prediction
from tests.images import encode
from tests.models.imaging.test_framing import StubDetector
from tests.service.fixtures import TWO, make_engine, publish_bundle, wait

FRAMING = Framing((0.5, 0.5, 0.5, 0.5), beyond=0.2, below=0.75)
FACE = (280, 200, 320, 240)
# Codes of the whole and of the face (`tests.service.fixtures`): both, one or no pass decides.
CODES = [(4095, 3000), (4095, 200), (2100, 4060), (3000, 200), (200, 4095), (4060, 4095)]


def _whole(bundle: Bundle) -> Bundle:
    return bundle


def _framed(bundle: Bundle) -> Bundle:
    return dataclasses.replace(bundle, framing=FRAMING)


def _cropped(bundle: Bundle) -> Bundle:
    crop = bundle.manifest.crop.model_copy(update={"name": "faces"})
    return dataclasses.replace(bundle, manifest=bundle.manifest.model_copy(update={"crop": crop}))


@pytest.fixture(name="bundle", scope="module")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return publish_bundle(tmp_path_factory.mktemp("store"))


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    detector = StubDetector(640, (FACE, 0.9))
    for module in (compare, second_pass, decoder, engine):
        monkeypatch.setattr(module, "load_detector", lambda: detector)
    for label in TWO:
        (tmp_path / label).mkdir()
        for index, (background, face) in enumerate(CODES):
            image = Image.new("RGB", (640, 480), (background // 256, background % 256, 7))
            image.paste((face // 256, face % 256, 7), (252, 172, 348, 268))
            (tmp_path / label / f"{index}.png").write_bytes(encode(image, "PNG"))
    return tmp_path


@pytest.mark.parametrize("kind", [_whole, _framed, _cropped])
def test_compared_answers_are_those_of_the_service(
    kind: Callable[[Bundle], Bundle], bundle: Bundle, folder: Path
) -> None:
    model = kind(bundle)
    found = compare_bundles(bundle, model, folder)
    made = make_engine(model)
    try:
        files: list[Any] = [(folder / file).read_bytes() for file in found.files]
        served = wait(made.predict(files))
    finally:
        made.close()
    answers = [answer for answer in served if isinstance(answer, Prediction)]
    assert len(answers) == len(found.files) == 2 * len(CODES)
    assert found.new.predicted == [answer.label for answer in answers]
    assert found.new.answered == sum(answer.decision in TWO for answer in answers) / len(answers)


def test_second_pass_changes_what_is_compared(bundle: Bundle, folder: Path) -> None:
    found = compare_bundles(bundle, _framed(bundle), folder)
    assert found.old.predicted != found.new.predicted
    assert found.old.answered < found.new.answered
    assert found.test.difference == pytest.approx(found.test.new - found.test.old)

"""How training pictures are framed, and holdout sets judged as the service answers."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from models.bundle import second_pass
from models.errors import DetectorUnavailable
from models.imaging.framing import Framing
from tests.images import encode
from tests.models.imaging.test_framing import StubDetector
from training.config import FitConfig
from training.data.cache import Cache
from training.data.dataset import scan
from training.data.holdout import find_holdout_set
from training.data.source import open_source
from training.evaluation import framing as learning
from training.evaluation.framing import LearntFraming, learn_framing
from training.evaluation.holdout import evaluate_holdout
from training.features.extract import StatsOnly
from training.features.feature_set import FeatureSet, read_feature_set

CONFIG = dataclasses.replace(FitConfig(), min_pictures=1)
WIDTH, HEIGHT = 160, 120
TIGHT = ((40, 30, 100, 110), 0.9)  # box and score: half of the picture
SMALL = ((70, 50, 84, 66), 0.9)


@pytest.fixture(name="cache")
def _cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(tmp_path / "cache") as cache:
        yield cache


@pytest.fixture(name="feature_set")
def _feature_set(tmp_path: Path, cache: Cache) -> FeatureSet:
    for number in range(20):
        folder = tmp_path / "pictures" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        (folder / f"{number}.png").write_bytes(encode(Image.fromarray(noise), "PNG"))
    listing = scan(open_source(tmp_path / "pictures"))
    return read_feature_set(listing, StatsOnly(16), cache, CONFIG)


class Turns(StubDetector):
    """Detector that finds the given faces in turn, one or none per picture."""

    def __init__(self, *turns: tuple[Any, float] | None) -> None:
        super().__init__(WIDTH)
        self.turns = list(turns)

    def find(self, width: int, height: int, rgb: bytes) -> Any:
        turn = self.turns[len(self.searched) % len(self.turns)]
        self.faces = (turn,) if turn else ()
        return super().find(width, height, rgb)


def learn(
    monkeypatch: pytest.MonkeyPatch, feature_set: FeatureSet, cache: Cache, *turns: Any
) -> LearntFraming:
    detector = Turns(*turns)
    monkeypatch.setattr(learning, "load_detector", lambda: detector)
    monkeypatch.setattr(
        learning, "map_chunks_parallel", lambda items, work: [work(items)]
    )  # in turn
    return learn_framing(feature_set, np.linspace(0, 0.5, 20), cache, CONFIG)


def test_pictures_of_one_face_each_give_its_margins(
    monkeypatch: pytest.MonkeyPatch, feature_set: FeatureSet, cache: Cache
) -> None:
    found = learn(monkeypatch, feature_set, cache, *[TIGHT] * 9, None)
    assert (found.searched, found.with_face, found.framed) == (20, 18, 18)
    assert found.size == pytest.approx(80 / (WIDTH * HEIGHT) ** 0.5)
    assert found.facts is not None
    assert found.facts.margins == (40 / 80, 30 / 80, 60 / 80, 10 / 80)
    assert found.facts.beyond == pytest.approx(0.475)
    assert found.rule(0.9) == Framing(found.facts.margins, beyond=found.facts.beyond, below=0.9)
    assert "in 18 of 20 pictures" in found.sentence
    assert found.summary()["facts"]["framed"] == 18
    again = learn(monkeypatch, feature_set, cache, None)  # from the cache
    assert again == found


@pytest.mark.parametrize(
    "turns",
    [
        [None],  # other things
        [TIGHT, None],  # half of them faces
        [SMALL],  # whole photographs
        [TIGHT, SMALL],  # both
    ],
)
def test_other_pictures_stay_whole(
    turns: Any, monkeypatch: pytest.MonkeyPatch, feature_set: FeatureSet, cache: Cache
) -> None:
    found = learn(monkeypatch, feature_set, cache, *turns)
    assert found.searched == 20
    assert found.facts is None
    assert found.rule(0.9) is None
    assert "answered whole" in found.sentence


def test_pictures_are_not_searched_without_detector_or_distances(
    monkeypatch: pytest.MonkeyPatch, feature_set: FeatureSet, cache: Cache
) -> None:
    assert learn_framing(feature_set, None, cache, CONFIG).facts is None

    def refuse() -> None:
        raise DetectorUnavailable("Finding faces needs the extra 'faces'.")

    monkeypatch.setattr(learning, "load_detector", refuse)
    found = learn_framing(feature_set, np.zeros(20), cache, CONFIG)
    assert (found.searched, found.facts) == (0, None)
    assert found.sentence.endswith("Finding faces needs the extra 'faces'.")


class BrightGraph(torch.nn.Module):
    """Graph by brightness: bright is class 1 and near, dark is class 0 and far."""

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        bright = pixels.float().mean((1, 2, 3)) / 255
        probabilities = torch.stack([1 - bright, bright], dim=1)
        return probabilities, probabilities[:, :, None, None], 1 - bright


def test_evaluate_holdout_frames_doubtful_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Image.new("RGB", (WIDTH, HEIGHT), "black")
    image.paste("white", (56, 36, 104, 84))
    for name, picture in (
        ("dog/scene.png", image),
        ("dog/bright.png", Image.new("L", (9, 9), 250)),
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode(picture, "PNG"))
    detector = StubDetector(WIDTH, ((70, 50, 90, 70), 0.9))
    monkeypatch.setattr(second_pass, "load_detector", lambda: detector)
    holdout = find_holdout_set(tmp_path, ["cat", "dog"])
    graph: Any = BrightGraph()
    whole = evaluate_holdout(graph, holdout, input_px=16)
    framing = Framing((0.5, 0.5, 0.5, 0.5), beyond=0.5, below=0.6)
    framed = evaluate_holdout(graph, holdout, input_px=16, framing=framing)
    assert framed.names == whole.names == ["dog/bright.png", "dog/scene.png"]
    assert whole.probabilities.argmax(axis=1).tolist() == [1, 0]
    assert framed.probabilities.argmax(axis=1).tolist() == [1, 1]
    assert framed.distances is not None
    assert whole.distances is not None
    assert framed.distances[0] == whole.distances[0]
    assert framed.distances[1] < 0.05 < whole.distances[1]
    assert len(detector.searched) > 0

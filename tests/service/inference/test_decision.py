"""Decision: the answer for a picture from a model's outputs."""

from pathlib import Path

import pytest
import torch

from models.bundle.manifest import Manifest
from service.inference.decision import Prediction, decide
from tests.service.fixtures import FAMILIAR, THREE, THRESHOLD, publish_bundle


@pytest.fixture(name="manifest")
def _manifest(tmp_path: Path) -> Manifest:
    return publish_bundle(tmp_path, THREE).manifest


def test_decide_returns_the_likeliest_class_and_every_score(manifest: Manifest) -> None:
    found = decide(manifest, [0.05, 0.85, 0.1])
    assert found == Prediction(
        label="dog",
        decision="dog",
        score=0.85,
        scores={"cat": 0.05, "dog": 0.85, "neither": 0.1},
    )
    assert tuple(found.scores) == THREE


@pytest.mark.parametrize(
    ("score", "decision"), [(THRESHOLD, "cat"), (THRESHOLD - 1e-9, "uncertain")]
)
def test_decide_is_uncertain_below_the_threshold(
    score: float, decision: str, manifest: Manifest
) -> None:
    found = decide(manifest, [score, 1 - score, 0.0])
    assert (found.label, found.decision) == ("cat", decision)


@pytest.mark.parametrize(
    ("distance", "familiar"), [(None, None), (FAMILIAR, True), (FAMILIAR + 1e-9, False)]
)
def test_decide_is_unfamiliar_beyond_the_distance_threshold(
    distance: float | None, familiar: bool | None, manifest: Manifest
) -> None:
    found = decide(manifest, [1.0, 0.0, 0.0], distance=distance)
    assert (found.distance, found.familiar) == (distance, familiar)


def test_decide_is_unfamiliar_whatever_the_score_is(manifest: Manifest) -> None:
    for scores in ([1.0, 0.0, 0.0], [0.4, 0.3, 0.3]):
        found = decide(manifest, scores, distance=2.0)
        assert (found.decision, found.label, found.score) == ("unfamiliar", "cat", scores[0])


@pytest.mark.parametrize(
    ("threshold", "decision"), [(0.0, "cat"), (0.6, "cat"), (0.61, "uncertain")]
)
def test_decide_uses_the_threshold_that_is_given(
    threshold: float, decision: str, manifest: Manifest
) -> None:
    assert decide(manifest, [0.6, 0.4, 0.0], threshold=threshold).decision == decision


def test_decide_returns_no_familiar_without_a_detector(manifest: Manifest) -> None:
    without = manifest.model_copy(update={"familiarity": None})
    assert decide(without, [1.0, 0.0, 0.0], distance=0.1).familiar is None


def test_decide_copies_the_activation_map_of_the_label(manifest: Manifest) -> None:
    maps = torch.arange(12.0).reshape(3, 2, 2)
    found = decide(manifest, [0.0, 0.0, 1.0], activation=maps)
    assert found.activation is not None
    assert torch.equal(found.activation, maps[2])
    assert found.activation.data_ptr() != maps[2].data_ptr()

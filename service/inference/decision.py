"""Predictions, decided from a model's outputs; the same for every protocol and metric."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from models.bundle.manifest import Manifest
from models.imaging.faces import Face
from models.imaging.framing import FramedFace

UNCERTAIN: Final = "uncertain"
"""Decision if the score is below the threshold."""

UNFAMILIAR: Final = "unfamiliar"
"""Decision if the picture is out of distribution, whatever its score is."""

SCORE_DIGITS: Final = 6
"""Decimals of the scores and distances that callers get: finer than the graph's own rounding
(float32) on two machines."""


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """What a caller may choose about the answers to its pictures.

    Attributes:
        explain: Add the class-activation maps.
        threshold: Score below which the decision is `uncertain`; None for the engine's.
        whole: Answer the whole picture, also where its main face could be framed as in training.
    """

    explain: bool = False
    threshold: float | None = None
    whole: bool = False


DEFAULT_OPTIONS: Final = AnswerOptions()
"""Answers as the engine gives them to a caller who chooses nothing."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one picture, or for one face of it.

    Attributes:
        label: The likeliest class.
        decision: `unfamiliar` if the picture is out of distribution, else `uncertain` if the score
            is below the threshold, else `label`.
        score: Probability of `label`.
        scores: Probability of every class, in the order of the model's labels.
        distance: Distance to the training pictures, 0 to 2; None if the model has no detector.
        familiar: False if the picture is out of distribution; None without a `distance`.
        activation: Class-activation map of `label`, float32 (h, w), if requested.
        size: Width and height of the upright picture, in pixels; None if pixels were given.
        face: The face that the model was given; None for the whole picture.
        framed: The main face that the answer is about, framed as in training; None for the whole
            picture.
    """

    label: str
    decision: str
    score: float
    scores: dict[str, float]
    distance: float | None = None
    familiar: bool | None = None
    activation: Tensor | None = None
    size: tuple[int, int] | None = None
    face: Face | None = None
    framed: FramedFace | None = None


@dataclass(frozen=True)
class PictureFaces:
    """The answers for the faces of one picture.

    Attributes:
        width: Width of the upright picture, in pixels.
        height: Height of the upright picture, in pixels.
        predictions: One prediction per face, the likeliest face first.
        left_out: Number of faces found beyond the allowed ones.
    """

    width: int
    height: int
    predictions: list[Prediction]
    left_out: int


def decide(
    manifest: Manifest,
    probabilities: Sequence[float],
    *,
    threshold: float | None = None,
    distance: float | None = None,
    activation: Tensor | None = None,
    size: tuple[int, int] | None = None,
    face: Face | None = None,
    framed: FramedFace | None = None,
) -> Prediction:
    """Return the answer for one picture.

    Args:
        manifest: Labels and thresholds of the model.
        probabilities: K values, in the order of the labels.
        threshold: Score below which the decision is `uncertain`; None for the model's.
        distance: Distance to the training pictures, if the model measures it.
        activation: Class-activation maps, float32 (K, h, w), if requested.
        size: Width and height of the upright picture, in pixels.
        face: The face that the model was given.
        framed: The main face that the model was given, framed as in training.
    """
    labels, detector = manifest.labels, manifest.familiarity
    best = max(range(len(labels)), key=probabilities.__getitem__)
    label, score = labels[best], probabilities[best]
    familiar = None if detector is None or distance is None else distance <= detector.threshold
    if threshold is None:
        threshold = manifest.decision.threshold
    decision = label if score >= threshold else UNCERTAIN
    if familiar is False:
        decision = UNFAMILIAR
    return Prediction(
        label=label,
        decision=decision,
        score=score,
        scores=dict(zip(labels, probabilities, strict=True)),
        distance=distance,
        familiar=familiar,
        activation=None if activation is None else activation[best].clone(),  # not the whole batch
        size=size,
        face=face,
        framed=framed,
    )


def nearer(whole: Prediction, framed: Prediction) -> Prediction:
    """Return the answer that is nearer to the training pictures: to a picture, or to its face."""
    if whole.distance is None or framed.distance is None:
        return whole
    return framed if framed.distance < whole.distance else whole

"""From a model's probabilities to what is said of a picture."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from models.bundle.manifest import FamiliarityFacts

UNCERTAIN: Final = "uncertain"


class Decided(NamedTuple):
    """What is said of one picture.

    Attributes:
        decision: `label`, or `uncertain` where the score is below the threshold.
        label: The likeliest class.
        score: Its probability.
    """

    decision: str
    label: str
    score: float


def decide(labels: Sequence[str], threshold: float, probabilities: Sequence[float]) -> Decided:
    """Decide on one picture.

    Args:
        labels: In the order of the probabilities.
        threshold: Of the model; scores below it are uncertain.
        probabilities: Of each class.
    """
    best = max(range(len(labels)), key=probabilities.__getitem__)
    label, score = labels[best], probabilities[best]
    return Decided(label if score >= threshold else UNCERTAIN, label, score)


def is_familiar(facts: FamiliarityFacts | None, distance: float | None) -> bool | None:
    """Whether a picture is like those that the model was trained on; None if it cannot tell.

    Args:
        facts: Of the model, if it measures the distance.
        distance: Of the picture.
    """
    if facts is None or distance is None:
        return None
    return distance <= facts.threshold

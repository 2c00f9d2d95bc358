"""The steps of each command, with the time that each is expected to take."""

from dataclasses import dataclass
from typing import Final

from training.data.progress import StepName

TITLES: Final[dict[StepName, str]] = {
    "prepare": "Check the data and the output folders",
    "features": "Read the pictures and extract features",
    "audit": "Find faults of the data set",
    "int8": "Measure int8, which is faster",
    "copies": "Extract features of augmented copies",
    "evaluate": "Cross-validate and fit the classifier",
    "finetune": "Fine-tune the network",
    "test": "Evaluate on the test pictures",
    "robustness": "Evaluate on corrupted pictures",
    "report": "Write the report",
    "publish": "Verify and publish the model",
    "draw": "Draw the pictures",
}

# Seconds: fixed, and per picture, of the default backbone in fp32 on 2 cores (360 pictures). Only
# their ratios matter: the clock of the run scales them. If int8 is chosen, the copies take a third.
_SECONDS: Final[dict[StepName, tuple[float, float]]] = {
    "prepare": (3.0, 0.0),
    "features": (0.0, 0.017),
    "audit": (0.3, 0.001),
    "int8": (9.5, 0.009),
    "copies": (0.0, 0.07),
    "evaluate": (1.0, 0.018),
    "finetune": (10.0, 2.0),
    "test": (0.5, 0.01),
    "robustness": (30.0, 0.0),
    "report": (1.0, 0.002),
    "publish": (1.0, 0.0),
    "draw": (0.0, 0.02),
}


@dataclass(frozen=True)
class Step:
    """One step of a run.

    Attributes:
        name: Stable name, for programs.
        title: Title shown to people.
        fixed_s: Expected seconds, however few the pictures are.
        per_picture_s: Expected seconds per picture.
    """

    name: StepName
    title: str
    fixed_s: float
    per_picture_s: float


def make_steps(*names: StepName) -> list[Step]:
    """Return the steps of some names, in that order."""
    return [Step(name, TITLES[name], *_SECONDS[name]) for name in names]


def fit_steps(
    *, precision: str, views: int, finetune: object, tests: object, robustness: bool
) -> list[Step]:
    """Return the steps of `fit` with these options, most of which are only tested for truth."""
    names: list[StepName] = ["prepare", "features", "audit"]
    if precision != "fp32" and not finetune:
        names.append("int8")
    if views:
        names.append("copies")
    names.append("evaluate")
    if finetune:
        names.append("finetune")
    if tests:
        names.append("test")
    if robustness:
        names.append("robustness")
    return make_steps(*names, "report", "publish")

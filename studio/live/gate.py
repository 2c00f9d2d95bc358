"""The gate: a model goes live if it is shown not to be worse than the live one, or by a reason."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.bundle.out_of_fold import OUT_OF_FOLD, TEST_ANSWERS
from models.errors import BundleError
from studio.runs.compare import compare_bundles, figures_of


@dataclass(frozen=True)
class Verdict:
    """The gate's verdict on a model.

    Attributes:
        is_open: True if the model may go live without a reason.
        sentence: The reason of the verdict.
        evidence: Figures of the paired test, if there was one.
    """

    is_open: bool
    sentence: str
    evidence: dict[str, Any] | None = None


def judge(store: Path, live: str | None, candidate: str) -> Verdict:
    """Judge a model by the paired test of `models.paired`, on pictures that both have answered.

    One that gives a class to many fewer of them is kept back, too.

    These are the training pictures of both, answered out of fold. Frozen test sets that both were
    tested on are a second look: a loss there closes the gate, too. They decide alone if the models
    have no training picture in common.

    Args:
        store: Folder of the models.
        live: Version that is live, if any.
        candidate: Version to go live.
    """
    if live is None:
        return Verdict(True, "No model is live yet: the first one needs no comparison.")
    if live == candidate:
        return Verdict(True, f"{candidate} is live already.")
    try:
        trained, tested = (
            compare_bundles(store, live, candidate, name) for name in (OUT_OF_FOLD, TEST_ANSWERS)
        )
    except BundleError as error:
        return Verdict(False, f"The two models cannot be compared: {error}")
    first = trained or tested
    if first is None:
        return Verdict(
            False,
            f"{candidate} cannot be compared with {live}, which is live: they have no picture in "
            "common that both have answered out of fold, or know different classes.",
        )
    sentence = first.sentence
    if trained is None:
        sentence = f"On the frozen test pictures: {sentence}"
    elif tested is not None:
        sentence += f" On the frozen test pictures: {tested.sentence}"
    is_open = (
        first.test.not_worse
        and not first.answered.fewer
        and (tested is None or tested.test.verdict != "worse")
    )
    return Verdict(is_open, sentence, figures_of(first, tested if trained else None))

"""Promotion: is the new model made current, and what has changed against the current one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from models.bundle.files import read_manifest
from models.bundle.out_of_fold import Answer, Comparison, compare_answers, read_answers
from models.bundle.store import current_version
from models.errors import BundleError, NoBundle
from models.text import clean, percent
from training.job.options import FitOptions

Cause = Literal[
    "first", "asked", "not worse", "not compared", "worse", "fewer answers", "min_accuracy"
]
_NEVERTHELESS: Final = " (--promote for it nevertheless)."
_REFUSALS: Final = ("worse", "fewer answers", "min_accuracy")


@dataclass(frozen=True)
class Promotion:
    """Decision on a new model.

    Attributes:
        promoted: True if it is made current.
        reason: One sentence on why, or why not.
        cause: The same for programs.
        live: Version that is current before, if any.
        comparison: Paired comparison with that version, if both can be compared.
    """

    promoted: bool
    reason: str
    cause: Cause
    live: str | None
    comparison: Comparison | None

    @property
    def refused(self) -> bool:
        """True if a check has kept the model from being made current."""
        return self.cause in _REFUSALS

    def comparison_dict(self) -> dict[str, Any] | None:
        """Return the comparison and the version compared with, fit for JSON."""
        if self.comparison is None:
            return None
        return {"with": self.live, **self.comparison.as_dict()}


def decide_promotion(
    options: FitOptions, answers: Sequence[Answer], balanced_accuracy: float, threshold: float
) -> Promotion:
    """Compare a new model with the store's current one, and decide if it replaces it.

    By default only a model that is shown to be worse, or to leave many more pictures without a
    class, is kept back: on the pictures that both were trained on, out of fold for both.

    Args:
        options: Store, and what was asked for.
        answers: Out-of-fold answers of the new model.
        balanced_accuracy: Of the new model, cross-validated.
        threshold: Score below which its answer is "uncertain".
    """
    live = _live_version(options.store)
    comparison = _compare(options.store / live, answers, threshold) if live else None
    minimum = options.min_accuracy
    cause: Cause
    if minimum is not None and balanced_accuracy < minimum:
        cause = "min_accuracy"
        reason = f"balanced accuracy of {balanced_accuracy:.2%} < --min-accuracy {minimum:g}."
    elif options.promotion != "auto":
        cause, reason = "asked", f"--{'no-' * (options.promotion == 'never')}promote."
    elif live is None:
        cause, reason = "first", "the store had no current model."
    elif isinstance(comparison, str):
        cause, reason = "not compared", f"not compared with the one before: {comparison}"
    elif comparison is not None and comparison.test.verdict == "worse":
        cause = "worse"
        reason = f"shown to be worse than {live}{comparison.test.worse_for}{_NEVERTHELESS}"
    elif comparison is not None and comparison.answered.fewer:
        cause, answered = "fewer answers", comparison.answered
        reason = (
            f"it gives only {percent(answered.new)} of the pictures a class, and {live} "
            f"{percent(answered.old)}{_NEVERTHELESS}"
        )
    else:
        cause, reason = "not worse", f"not shown to be worse than {live}."
    promoted = cause not in _REFUSALS and options.promotion != "never"
    return Promotion(
        promoted=promoted,
        reason=clean(f"{'Made current' if promoted else 'Not made current'}: {reason}"),
        cause=cause,
        live=live,
        comparison=comparison if isinstance(comparison, Comparison) else None,
    )


def _live_version(store: Path) -> str | None:
    try:
        return current_version(store)
    except NoBundle:
        return None


def _compare(live: Path, answers: Sequence[Answer], threshold: float) -> Comparison | str:
    """Compare with a bundle; return a sentence on why that is not possible."""
    try:
        manifest = read_manifest(live)
        before = read_answers(live)
    except BundleError as error:
        return f"{live.name} cannot be read ({error})"
    if set(manifest.labels) != answers[0].probabilities.keys():
        return f"{live.name} has other classes ({', '.join(manifest.labels)})."
    if before is None:
        return f"{live.name} was made by a version that kept no out-of-fold answers."
    found = compare_answers(before, answers, thresholds=(manifest.decision.threshold, threshold))
    return found or f"{live.name} was trained on none of these pictures."

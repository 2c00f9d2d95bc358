"""Log lines of a run: its metrics, in plain words with the standard terms."""

from collections.abc import Mapping
from typing import Any

from models.text import percent, span
from training.evaluation.study import Study


def study_lines(study: Study) -> list[str]:
    """Return the lines on cross-validation, data leakage, threshold and learning curve."""
    metrics, decision = study.metrics, study.decision
    kept = "keeps" if decision.reached else "cannot be shown to keep"
    calibration = study.calibration
    low, high = calibration.log_loss_interval_95
    return [
        f"Cross-validated on {metrics['pictures']} pictures in {metrics['groups']} groups: "
        f"{_shares(metrics)}.",
        "A random split that ignores copies and groups would claim a balanced accuracy of "
        f"{percent(study.naive['balanced_accuracy'])}.",
        f"Answering only above {percent(decision.threshold)} (the threshold) {kept} the error of "
        f"given answers under {percent(decision.target_error)}, with 95 % confidence; it answers "
        f"{percent(decision.coverage)} of the pictures (coverage).",
        f"Log loss {calibration.log_loss:.3f} (95 % interval {low:.3f} to {high:.3f}) "
        + (
            "with the scores as they are: no temperature lowers it."
            if calibration.temperature == 1.0
            else f"at temperature {calibration.temperature:.2f}, "
            f"{calibration.log_loss_before:.3f} without."
        ),
        study.learning_curve.sentence,
    ]


def holdout_line(name: str, metrics: Mapping[str, Any]) -> str:
    """Return the line on one holdout set."""
    return f"Test set {name}: of {metrics['pictures']} pictures {_shares(metrics)}."


def _shares(metrics: Mapping[str, Any]) -> str:
    return (
        f"{percent(metrics['accuracy'])} right (accuracy), "
        f"{percent(metrics['balanced_accuracy'])} as the mean over classes (balanced accuracy; "
        f"95 % interval {span(metrics['balanced_accuracy_interval_95'])})"
    )

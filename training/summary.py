"""Schema of summary.json: what a run measured, as the report, the card and the manifest read it.

The types carry no code and import nothing of the training job, so that every room may use them.
Shares are 0..1; an interval is the two ends of a 95 % interval.
"""

from typing import Any, Literal, NotRequired, TypedDict

Interval = list[float]


class DatasetSummary(TypedDict):
    """The training pictures; `models.bundle.manifest.DatasetFacts`."""

    fingerprint: str
    pictures: dict[str, int]
    groups: int
    skipped: int
    corrected: int
    left_out: int


class FindingSummary(TypedDict):
    """One finding of the audit."""

    level: Literal["error", "warning", "info"]
    kind: str
    message: str
    names: list[str]
    groups: list[list[str]]
    details: dict[str, Any]


class Metrics(TypedDict):
    """Classification metrics of one set of pictures.

    `confusion[i][j]` counts the pictures of class i that were predicted as j. `recall` lacks
    classes without pictures, `precision` lacks classes that were never predicted, and `roc_auc`
    (mean over classes of each against the rest) is None where there is one class only.
    `next_100_interval_95` is the range of the correct answers among the next 100 pictures.
    """

    pictures: int
    groups: int
    accuracy: float
    accuracy_interval_95: Interval
    next_100_interval_95: list[int]
    mean_score: float
    balanced_accuracy: float
    balanced_accuracy_interval_95: Interval
    recall: dict[str, float]
    recall_interval_95: dict[str, Interval]
    precision: dict[str, float]
    precision_interval_95: dict[str, Interval]
    confusion: list[list[int]]
    roc_auc: float | None
    roc_auc_interval_95: Interval | None


class CrossValidationMetrics(Metrics):
    """Out-of-fold metrics, and the penalty chosen inside each fold."""

    penalties: list[float]


class CalibrationSummary(TypedDict):
    """Temperature, with log loss and expected calibration error before and after it.

    Both are cross-fitted, and the error is debiased; 95 % of perfectly calibrated models stay below
    `ece_band`.
    """

    temperature: float
    ece_before: float
    ece_after: float
    ece_band: float
    log_loss_before: float
    log_loss: float
    log_loss_interval_95: Interval


class DecisionSummary(TypedDict):
    """Threshold below which an answer is `uncertain`, and what it gains."""

    threshold: float
    target_error: float
    reached: bool
    coverage: float
    error: float
    error_bound: float


class LearningCurvePoint(TypedDict):
    """Balanced accuracy of models trained on a part of the pictures."""

    pictures: float
    mean: float
    low: float
    high: float


class LearningCurveSummary(TypedDict):
    """Learning curve, and its extrapolation to twice as many pictures."""

    points: list[LearningCurvePoint]
    gain: float | None
    gain_interval_95: Interval | None
    at_twice: float | None
    interval_95: Interval | None
    outlook: Literal["more", "same", "unknown"]
    sentence: str


class ConfidenceMetrics(TypedDict):
    """Metrics of calibration and of selective classification."""

    calibration_error: float
    log_loss: float
    brier: float
    answered: float
    answered_accuracy: float | None
    risk_coverage_area: float


class SliceMetrics(TypedDict):
    """Accuracy on one slice; `small` if its interval is too wide to compare it."""

    name: str
    pictures: int
    groups: int
    right: int
    accuracy: float
    accuracy_interval_95: Interval
    recall: dict[str, float]
    small: bool


class SliceGap(TypedDict):
    """Difference in accuracy between the best and the worst slice that can be compared."""

    best: str
    worst: str
    difference: float
    difference_interval_95: Interval


class AttributeSlices(TypedDict):
    """Slices of one attribute, the worst first."""

    attribute: str
    slices: list[SliceMetrics]
    gap: SliceGap | None


class HoldoutMetrics(Metrics, ConfidenceMetrics):
    """Metrics of the finished model on one holdout set."""

    slices: list[AttributeSlices]
    unfamiliar: float | None
    unfamiliar_by_class: NotRequired[dict[str, float] | None]
    unreadable: int
    training_copies: NotRequired[int | None]


class RobustnessMetrics(TypedDict):
    """Recall on pictures that were corrupted in one way, or not at all."""

    balanced_accuracy: float
    balanced_accuracy_interval_95: Interval
    recall: dict[str, float]
    recall_interval_95: dict[str, Interval]


class CorruptionStep(RobustnessMetrics):
    """One severity of a corruption, in the corruption's unit."""

    step: float


class CorruptionSummary(TypedDict):
    """One kind of corruption, from mild to severe."""

    name: str
    unit: str
    rows: list[CorruptionStep]


class RobustnessSummary(TypedDict):
    """Accuracy on corrupted pictures; `mean` is over all kinds and steps."""

    judged: str
    pictures: dict[str, int]
    undamaged: RobustnessMetrics
    corruptions: list[CorruptionSummary]
    mean: float


class TunedMetrics(Metrics):
    """Metrics of one side of the fine-tuning comparison."""

    log_loss: float


class FinetuningSummary(TypedDict):
    """Comparison of the fine-tuned model with the head alone, on the same folds."""

    epochs: list[dict[str, Any]]
    best_epoch: int
    best_epochs_of_folds: list[int]
    verdict: str
    better: Literal["head_only", "finetuned", "neither"]
    difference: float
    difference_interval_95: Interval
    p_value: float
    head_only: TunedMetrics
    finetuned: TunedMetrics
    published: Literal["head_only", "finetuned"]


class PrecisionSummary(TypedDict):
    """Number format of the published model; the rest is missing where int8 was not measured."""

    published: Literal["fp32", "int8"]
    verdict: str
    fp32: NotRequired[dict[str, float]]
    int8: NotRequired[dict[str, float]]
    gained: NotRequired[int]
    lost: NotRequired[int]
    difference: NotRequired[float]
    difference_interval_90: NotRequired[Interval]
    margin: NotRequired[float]
    resolution: NotRequired[float]
    noise_share: NotRequired[float]
    accurate: NotRequired[bool]
    faithful: NotRequired[bool]
    faster: NotRequired[bool]


class OodSummary(TypedDict):
    """Out-of-distribution detector; `models.bundle.manifest.OodFacts`.

    `unfamiliar_by_class` is the share of each class's training pictures beyond the threshold, each
    compared with those of other groups.
    """

    threshold: float
    false_alarms: float
    neighbours: int
    references: int
    mean_distance: float
    unfamiliar_by_class: NotRequired[dict[str, float]]


class Summary(TypedDict):
    """All that summary.json holds, in its order."""

    labels: list[str]
    dataset: DatasetSummary
    audit: list[FindingSummary]
    cross_validation: CrossValidationMetrics
    naive_split: Metrics
    calibration: CalibrationSummary
    decision: DecisionSummary
    learning_curve: LearningCurveSummary
    confidence: ConfidenceMetrics
    slices: list[AttributeSlices]
    tests: dict[str, HoldoutMetrics]
    robustness: RobustnessSummary | None
    finetuning: FinetuningSummary | None
    precision: PrecisionSummary
    familiarity: OodSummary | None
    backbone: dict[str, Any]
    config: dict[str, Any]
    packages: dict[str, str]
    command: str

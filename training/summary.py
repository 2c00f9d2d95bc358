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


class Summary(TypedDict):
    """All that summary.json holds, in its order.

    `cross_validation` also has the penalty chosen inside each fold. Fields of other blocks:
    `calibration` in `training.evaluation.calibration.Calibration`, `precision` in
    `training.quantization.choose`, `familiarity` in `training.evaluation.ood.OodDetector`,
    `framing` in `training.evaluation.framing.LearntFraming`.
    """

    labels: list[str]
    dataset: DatasetSummary
    audit: list[FindingSummary]
    cross_validation: Metrics
    naive_split: Metrics
    calibration: dict[str, Any]
    decision: DecisionSummary
    learning_curve: LearningCurveSummary
    confidence: ConfidenceMetrics
    slices: list[AttributeSlices]
    tests: dict[str, HoldoutMetrics]
    robustness: RobustnessSummary | None
    finetuning: FinetuningSummary | None
    precision: dict[str, Any]
    familiarity: dict[str, Any] | None
    framing: dict[str, Any] | None
    backbone: dict[str, Any]
    config: dict[str, Any]
    packages: dict[str, str]
    command: str

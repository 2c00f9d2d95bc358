"""Replications of a world: what the product prints of a data set, against the truth."""

import dataclasses
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from checks.coverage.worlds import (
    FastHeads,
    Ints,
    World,
    draw_folds,
    draw_groups,
    fit,
    growing_hits,
    out_of_fold,
)
from training.config import FitConfig
from training.evaluation.calibration import calibrate, calibration_error, choose_threshold
from training.evaluation.head import softmax
from training.evaluation.learning_curve import extrapolate
from training.evaluation.metrics import classification_metrics

_CONFIG: Final = FitConfig()
_TARGETS: Final = (0.01, 0.05)
_CURVE_SHARES: Final = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0)
_MAX_FITTED_CLASSES: Final = 5  # more classes have answers drawn at their accuracy, and no fits
_TWICE_HEADS: Final = 20  # whose mean accuracy is the truth at twice the pictures


@dataclass(frozen=True)
class Row:
    """Means over the replications of a world; None where it was not measured.

    Attributes:
        name: Of the world.
        accuracy: Share of intervals that cover the truth; and so on.
        headline: Share of "of 100 new pictures" that hold the count of 100 new pictures.
        accuracy_width: Mean width of the interval, in points.
        said: Shares of runs that say "keeps", of the targets 1 % and 5 %.
        false: Shares of all runs that say so falsely.
        ece: True calibration error in points, without and with the temperature.
        forecast: Share of forecasts at twice the pictures that cover the truth.
        forecast_made: Share of runs with a forecast.
    """

    name: str
    accuracy: float
    accuracy_width: float
    balanced: float
    balanced_width: float
    headline: float
    auc: float | None = None
    said: tuple[float, float] | None = None
    false: tuple[float, float] | None = None
    exceeded: tuple[float, float] | None = None
    ece: tuple[float, float] | None = None
    forecast: float | None = None
    forecast_made: float | None = None
    forecast_width: float | None = None


def coverage_of(world: World, replications: int, *, seed: int = 0) -> Row:
    """Draw data sets, and count how often what the product prints of them is true."""
    facts = (*world.sizes, round(1000 * world.accuracy), round(1000 * world.shared))
    generators = np.random.default_rng([seed, *facts]).spawn(replications)
    if len(world.sizes) > _MAX_FITTED_CLASSES:
        return _mean(world, [_drawn_answers(world, random) for random in generators])
    truth = _accuracy_at_twice(world) if _has_forecast(world) else None
    return _mean(world, [_fitted(world, random, truth) for random in generators])


def _has_forecast(world: World) -> bool:
    """Return True if the learning curve is tried in a world: it takes 120 fits per data set."""
    return len(world.sizes) == 2 and sum(world.sizes) <= 360 and len(set(world.sizes)) == 1


def _covers(interval: list[float], truth: float) -> float:
    return float(interval[0] <= truth <= interval[1])


def _width(interval: list[float]) -> float:
    return 100 * (interval[1] - interval[0])


def _drawn_answers(world: World, random: np.random.Generator) -> dict[str, float]:
    """Return the figures of one data set whose answers are correct with the accuracy's chance."""
    classes = np.repeat(np.arange(len(world.sizes)), world.sizes)
    groups = draw_groups(classes, random) if world.shared else np.arange(len(classes))
    # A picture's answer is its group's with the square root of the correlation as chance.
    of_group = random.random(int(groups.max()) + 1)[groups]
    alone = random.random(len(classes)) > world.shared**0.5
    correct = np.where(alone, random.random(len(classes)), of_group) < world.accuracy
    wrong = (classes + random.integers(1, len(world.sizes), len(classes))) % len(world.sizes)
    answers = np.where(correct, classes, wrong)
    recall = np.full(len(world.sizes), world.accuracy)
    return _shares(
        np.eye(len(world.sizes))[answers], classes, groups, recall, random, cross_validated=False
    )


def _shares(
    probabilities: NDArray[np.float64],
    classes: Ints,
    groups: Ints,
    recall: NDArray[np.float64],
    random: np.random.Generator,
    *,
    cross_validated: bool,
) -> dict[str, float]:
    labels = [str(k) for k in range(len(recall))]
    found = classification_metrics(
        probabilities, classes, groups, labels, cross_validated=cross_validated
    )
    accuracy = float(recall[classes].mean())
    low, high = found["next_100_interval_95"]
    return {
        "accuracy": _covers(found["accuracy_interval_95"], accuracy),
        "accuracy_width": _width(found["accuracy_interval_95"]),
        "balanced": _covers(found["balanced_accuracy_interval_95"], float(recall.mean())),
        "balanced_width": _width(found["balanced_accuracy_interval_95"]),
        "headline": float(low <= random.binomial(100, accuracy) <= high),
        "auc_low": found["roc_auc_interval_95"][0],
        "auc_high": found["roc_auc_interval_95"][1],
        "balanced_value": found["balanced_accuracy"],
        "balanced_low": found["balanced_accuracy_interval_95"][0],
        "balanced_high": found["balanced_accuracy_interval_95"][1],
    }


def _fitted(
    world: World, random: np.random.Generator, truth_at_twice: float | None
) -> dict[str, float]:
    """Return the figures of one data set whose heads are fitted, and their truth."""
    num_classes = len(world.sizes)
    features, classes, groups = world.draw(random)
    fold_of = draw_folds(classes, groups, random)
    logits = out_of_fold(features, classes, fold_of, num_classes)
    published = fit(features, classes, num_classes)
    fresh, true = world.fresh
    fresh_logits = published.logits(fresh)[0]
    right = fresh_logits.argmax(axis=1) == true
    recall, area = _truth(published, world, fresh_logits, true)
    calibration = calibrate(logits, classes, groups, fold_of)
    probabilities = softmax(logits / calibration.temperature)
    fresh_probabilities = softmax(fresh_logits / calibration.temperature)
    row = _shares(probabilities, classes, groups, recall, random, cross_validated=True)
    row["auc"] = float(row["auc_low"] <= area <= row["auc_high"])
    weights = (np.array(world.sizes) / sum(world.sizes))[true]
    for target in _TARGETS:
        decision = choose_threshold(probabilities, classes, groups, target_error=target)
        given = fresh_probabilities.max(axis=1) >= decision.threshold
        error = float((weights * ~right)[given].sum() / max(1e-12, weights[given].sum()))
        row[f"said_{target}"] = float(decision.reached)
        row[f"false_{target}"] = float(decision.reached and error > target)
        row[f"exceeded_{target}"] = float(error > decision.error_bound)
    row["ece_before"] = 100 * calibration_error(softmax(fresh_logits), true)
    row["ece_after"] = 100 * calibration_error(fresh_probabilities, true)
    if truth_at_twice is not None:
        hits, sizes = growing_hits(
            world, features, classes, groups, random, _CURVE_SHARES, repeats=4
        )
        curve = extrapolate(
            hits,
            classes,
            groups,
            sizes,
            total=len(classes),
            measured=(row["balanced_value"], [row["balanced_low"], row["balanced_high"]]),
            config=_CONFIG,
        )
        row["forecast_made"] = float(curve.interval_95 is not None)
        if curve.interval_95 is not None:
            row["forecast"] = _covers(curve.interval_95, truth_at_twice)
            row["forecast_width"] = _width(curve.interval_95)
    return row


def _truth(
    published: FastHeads, world: World, fresh_logits: NDArray[np.float64], true: Ints
) -> tuple[NDArray[np.float64], float]:
    """Return the recall of each class and the ROC AUC: of two classes exact, of more measured."""
    num_classes = len(world.sizes)
    if num_classes == 2:
        means, deviation = published.margins(world)
        recall = norm.cdf(means / deviation)
        return np.asarray(recall), float(norm.cdf(means.sum() / (2**0.5 * deviation)))
    right = fresh_logits.argmax(axis=1) == true
    recall = np.array([right[true == k].mean() for k in range(num_classes)])
    return recall, float(roc_auc_score(true, softmax(fresh_logits), multi_class="ovr"))


def _accuracy_at_twice(world: World) -> float:
    fresh, true = world.fresh
    shares = []
    for random in np.random.default_rng(2).spawn(_TWICE_HEADS):
        features, classes, _ = world.draw(random, times=2)
        published = fit(features, classes, len(world.sizes))
        recall, _ = _truth(published, world, published.logits(fresh)[0], true)
        shares.append(recall.mean())
    return float(np.mean(shares))


def _mean(world: World, rows: list[dict[str, float]]) -> Row:
    def mean(name: str) -> float | None:
        values = [row[name] for row in rows if name in row]
        return float(np.mean(values)) if values else None

    def pair(name: str) -> tuple[float, float] | None:
        first, second = (mean(f"{name}_{target}") for target in _TARGETS)
        return None if first is None or second is None else (first, second)

    plain = {f.name: mean(f.name) for f in dataclasses.fields(Row)}
    before, after = mean("ece_before"), mean("ece_after")
    pairs = {name: pair(name) for name in ("said", "false", "exceeded")}
    ece = None if before is None or after is None else (before, after)
    return Row(**(plain | pairs | {"name": world.name, "ece": ece}))  # type: ignore[arg-type]

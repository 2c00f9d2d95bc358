"""Choice between fp32 and int8: both are measured on the same folds and the same machine."""

import dataclasses
import hashlib
import json
import math
import statistics
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from models.bundle.load import load_graph
from models.bundle.manifest import PrecisionFacts
from models.cpu import usable_cores
from models.imaging.decode import decode_image
from models.paired import paired_test
from models.text import percent
from training.backbones.registry import LoadedBackbone
from training.config import FitConfig
from training.data.cache import Cache
from training.data.progress import SILENT, Progress
from training.errors import UnreadableData
from training.evaluation.cross_validation import OutOfFold
from training.evaluation.head import Features, Head, pick_evenly
from training.evaluation.metrics import balanced_accuracy
from training.evaluation.study import cross_validate_originals
from training.features.extract import Extractor, extract
from training.features.feature_set import FeatureSet
from training.publish.export import Classifier, export
from training.quantization import int8
from training.quantization.throughput import measure_rates

_TESTS: Final = ("accurate", "faithful", "faster")


@dataclass(frozen=True)
class PrecisionChoice:
    """The backbone to publish, in its precision.

    Attributes:
        backbone: The backbone in the precision chosen.
        extractor: Feature extractor of `backbone`.
        feature_set: The pictures with its features.
        facts: Block `precision` of the manifest.
        summary: Block `precision` of summary.json: the measurements and the reason; no rates,
            which would differ from run to run.
    """

    backbone: LoadedBackbone
    extractor: Extractor
    feature_set: FeatureSet
    facts: PrecisionFacts
    summary: dict[str, Any]


def choose_precision(
    feature_set: FeatureSet,
    backbone: LoadedBackbone,
    extractor: Extractor,
    cache: Cache,
    config: FitConfig,
    *,
    progress: Progress = SILENT,
) -> PrecisionChoice:
    """Quantise, compare on the same folds, and choose according to `config.precision`.

    Args:
        feature_set: The pictures with fp32 features.
        backbone: The backbone in fp32.
        extractor: Its feature extractor.
        cache: Cache of the features of both precisions, and of measured rates.
        config: Precision, its limits, and the number of calibration pictures.
        progress: Logs the verdict; advanced while int8 features are extracted.

    Raises:
        UnreadableData: A picture that could be read before cannot be read any more.
        TooFewPictures: As `cross_validate_originals`.
    """
    not_measured = {"published": "fp32", "verdict": "Published in fp32; int8 was not measured."}
    fp32 = PrecisionChoice(backbone, extractor, feature_set, PrecisionFacts(), not_measured)
    if config.precision == "fp32":
        return fp32
    int8_backbone, variant = _quantise(feature_set, backbone, extractor, config)
    int8_extractor = Extractor(int8_backbone, variant=variant)
    int8_features = _extract_again(feature_set, int8_extractor, cache, progress)
    rates = _cached_rates(backbone, int8_backbone, extractor, cache)
    speedup = rates["int8"] / rates["fp32"]
    summary = _compare(feature_set, int8_features, config)
    summary["faster"] = speedup >= config.precision_speedup
    wins = config.precision == "int8" or all(summary[test] for test in _TESTS)
    summary["published"] = "int8" if wins else "fp32"
    decision = _decision(summary, config)
    summary["verdict"] = f"{decision} {_figures(summary)}"
    progress.log(
        f"{decision.replace('Published', 'To be published', 1)} Here int8 runs {speedup:.2f} times "
        "as many pictures per second."
    )
    if not wins:
        facts = PrecisionFacts(images_per_s=rates)
        return dataclasses.replace(fp32, facts=facts, summary=summary)
    facts = PrecisionFacts(name="int8", engine=int8.ENGINE, images_per_s=rates)
    return PrecisionChoice(int8_backbone, int8_extractor, int8_features, facts, summary)


def noise_share(fp32: Features, quantised: Features) -> float:
    """Return the variance that rounding adds between pictures, as a share of the features' own.

    A shift common to all pictures does not count: the head's bias absorbs it.

    Args:
        fp32: (n, F).
        quantised: (n, F) of the same pictures.
    """
    added = (quantised - fp32).var(axis=0, dtype=np.float64).sum()
    return float(added / max(fp32.var(axis=0, dtype=np.float64).sum(), 1e-12))


def _quantise(
    feature_set: FeatureSet, backbone: LoadedBackbone, extractor: Extractor, config: FitConfig
) -> tuple[LoadedBackbone, str]:
    """Return the int8 backbone, and the variant that names it in the cache.

    The calibration pictures are spread evenly over the data set, and so over its classes.
    """
    every = np.arange(len(feature_set.names))
    chosen = pick_evenly(every, config.calibration_pictures).tolist()
    content = "".join(feature_set.stats[index].sha256 for index in chosen)
    pixels = torch.stack(
        [decode_image(feature_set.read(index), size=extractor.input_px) for index in chosen]
    )
    network = int8.quantise(backbone.network, extractor.scale(pixels))
    variant = f"int8:{int8.VERSION}:{hashlib.sha256(content.encode()).hexdigest()}"
    return dataclasses.replace(backbone, network=network), variant


def _compare(
    feature_set: FeatureSet, int8_features: FeatureSet, config: FitConfig
) -> dict[str, Any]:
    """Compare the out-of-fold predictions of both precisions, picture by picture."""
    classes = feature_set.classes
    predictions: dict[str, OutOfFold] = {
        "fp32": cross_validate_originals(feature_set, config),
        "int8": cross_validate_originals(int8_features, config),
    }
    correct = {name: it.logits.argmax(axis=1) == classes for name, it in predictions.items()}
    logits = predictions["fp32"].logits.copy()
    every = np.arange(len(classes))
    given = logits[every, classes].copy()
    logits[every, classes] = -np.inf
    test = paired_test(
        correct["fp32"],
        correct["int8"],
        classes,
        feature_set.groups,
        given - logits.max(axis=1),
        margin=config.precision_loss,
    )
    noise = noise_share(feature_set.features, int8_features.features)
    return {
        name: {"balanced_accuracy": balanced_accuracy(correct[name], classes)} for name in correct
    } | {
        "gained": test.gained,
        "lost": test.lost,
        "difference": test.difference,
        "difference_interval_90": list(test.interval_90),
        "margin": test.margin,
        "resolution": test.resolution,
        "noise_share": noise,
        "accurate": test.not_worse,
        "faithful": noise <= config.precision_noise,
    }


def _decision(summary: dict[str, Any], config: FitConfig) -> str:
    """Return the number format and its reason, without figures."""
    margin = f"{100 * summary['margin']:g} points"
    reasons = {
        "accurate": f"may lose {margin} of accuracy or more",
        "faithful": "changes the features too much by its rounding",
        "faster": f"is not {config.precision_speedup:g} times as fast here",
    }
    if summary["resolution"] >= summary["margin"]:
        best = f"{100 * summary['resolution']:.1f} points"
        reasons["accurate"] += f" (these pictures are too few: they could show {best} at best)"
    failed = " and ".join(reasons[test] for test in _TESTS if not summary[test])
    if summary["published"] == "fp32":
        return f"Published in fp32: int8, the faster number format, {failed}."
    if config.precision == "int8":
        return f"Published in int8, as asked for{f', although it {failed}' if failed else ''}."
    return f"Published in int8, the faster number format: it loses less than {margin} of accuracy."


def _figures(summary: dict[str, Any]) -> str:
    before, after = (percent(summary[name]["balanced_accuracy"]) for name in ("fp32", "int8"))
    low, high = (100 * end for end in summary["difference_interval_90"])
    return (
        f"On the same folds fp32 has {before} balanced accuracy and int8 {after}, "
        f"{summary['gained']} pictures gained and {summary['lost']} lost, a difference of "
        f"{low:+.1f} to {high:+.1f} points (each end with 95 % confidence); rounding adds "
        f"{percent(summary['noise_share'])} to the features' variance."
    )


def _extract_again(
    feature_set: FeatureSet, extractor: Extractor, cache: Cache, progress: Progress
) -> FeatureSet:
    """Return the same pictures with another extractor's features."""
    extracted = extract(
        feature_set.listing.source, feature_set.names, extractor, cache, progress=progress
    )
    if extracted.unreadable:
        first = extracted.unreadable[0]
        raise UnreadableData(f"{first.name} could be read a moment ago: {first.reason}")
    return dataclasses.replace(feature_set, features=extracted.features)


def _cached_rates(
    backbone: LoadedBackbone, int8_backbone: LoadedBackbone, extractor: Extractor, cache: Cache
) -> dict[str, float]:
    """Return the pictures per second of both, measured once per machine and backbone.

    They are kept in the cache: a choice that depends on a clock could otherwise differ in the
    next run.
    """
    key = f"rates:{int8.VERSION}:{extractor.key}:{usable_cores()}"
    if (cached := _parse_rates(cache.get(key))) is not None:
        return cached
    blank = Head(
        np.zeros((2, backbone.spec.pooled_width), np.float32), np.zeros(2, np.float32), 1.0
    )
    size = backbone.spec.input_px
    graphs = {
        "fp32": load_graph(export(Classifier(backbone, blank), input_px=size)),
        "int8": load_graph(
            export(Classifier(int8_backbone, blank), input_px=size, precision="int8")
        ),
    }
    measured = measure_rates(graphs, input_px=size)
    rates = {name: round(statistics.median(each), 1) for name, each in measured.items()}
    cache.put([(key, json.dumps(rates).encode())])
    return rates


def _parse_rates(cached: bytes | None) -> dict[str, float] | None:
    """Return rates from the cache; None if they are not what was stored."""
    try:
        found = json.loads(cached or b"null")
        rates = {name: float(found[name]) for name in ("fp32", "int8")}
    except (ValueError, TypeError, KeyError):
        return None
    return rates if all(0 < rate < math.inf for rate in rates.values()) else None

"""fp32 or int8? Both are measured on the same folds and the same machine, and one is published."""

import dataclasses
import hashlib
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from models.bundle.load import answer, load_graph
from models.bundle.manifest import PrecisionFacts
from models.cpu import usable_cores
from models.imaging.decode import decode_image
from training.backbones.registry import LoadedBackbone
from training.config import FitConfig
from training.data.cache import Cache
from training.errors import UnreadableData
from training.evaluation.cross_validation import OutOfFold
from training.evaluation.head import Features, Head
from training.evaluation.study import judge_folds
from training.features.extract import Extractor, extract
from training.features.feature_set import Pictures
from training.publish.export import Classifier, export
from training.quantization import int8

_LANE_BATCH: Final = 4  # as the service's lanes run it
_ROUNDS: Final = 5  # of both precisions in turns; the median ratio counts
_BATCHES: Final = 2  # a lane and round


@dataclass(frozen=True)
class Chosen:
    """What to publish.

    Attributes:
        backbone: In the precision chosen.
        extractor: Of it.
        pictures: With its features.
        facts: For the manifest.
        summary: For the report: what was measured and why this one; no speeds, which would
            differ from run to run.
    """

    backbone: LoadedBackbone
    extractor: Extractor
    pictures: Pictures
    facts: PrecisionFacts
    summary: dict[str, Any]


def choose_precision(
    pictures: Pictures,
    backbone: LoadedBackbone,
    extractor: Extractor,
    cache: Cache,
    config: FitConfig,
    *,
    say: Callable[[str], None],
    progress: Callable[[int, int], object],
) -> Chosen:
    """Quantise, compare on the same folds, and choose as `config.precision` says.

    Args:
        pictures: With fp32 features.
        backbone: In fp32.
        extractor: Of it.
        cache: Of the features of both precisions, and of measured rates.
        config: Its `precision` block.
        say: Takes lines for the person who waits.
        progress: Takes (pictures just done, pictures in all).

    Raises:
        UnreadableData: A picture that could be read before cannot any more.
        TooFewPictures: As `judge_folds`.
    """
    untried = {"published": "fp32", "verdict": "Published in fp32; int8 was not measured."}
    plain = Chosen(backbone, extractor, pictures, PrecisionFacts(), untried)
    if config.precision == "fp32":
        return plain
    chosen = _calibration_places(pictures, config.calibration_pictures)
    content = "".join(pictures.extracted.facts[place].sha256 for place in chosen)
    quick = dataclasses.replace(
        backbone, network=int8.quantise(backbone.network, _scaled(pictures, chosen, extractor))
    )
    variant = f"int8:{int8.VERSION}:{hashlib.sha256(content.encode()).hexdigest()}"
    quick_extractor = Extractor(quick, variant=variant)
    rounded = _extract_again(pictures, quick_extractor, cache, progress)
    rates = _rates(backbone, quick, extractor, cache)
    engine = PrecisionFacts(name="int8", engine=int8.ENGINE, images_per_s=rates)
    judged = {"fp32": judge_folds(pictures, config), "int8": judge_folds(rounded, config)}
    compared = _compare(pictures, rounded, judged, config)
    speedup = rates["int8"] / rates["fp32"]
    compared["faster"] = speedup >= config.precision_speedup
    passes = all(compared[test] for test in ("accurate", "faithful", "faster"))
    wins = passes or config.precision == "int8"
    compared["published"] = "int8" if wins else "fp32"
    compared["verdict"] = _verdict(compared, config)
    say(f"{compared['verdict']} Here int8 runs {speedup:.2f} times as many pictures a second.")
    if wins:
        return Chosen(quick, quick_extractor, rounded, engine, compared)
    facts = PrecisionFacts(images_per_s=rates)
    return dataclasses.replace(plain, facts=facts, summary=compared)


def noise_share(features: Features, rounded: Features) -> float:
    """Variance that rounding adds between pictures, as a share of the features' own.

    A shift that all pictures have in common counts for nothing: the head's bias absorbs it.
    """
    added = (rounded - features).var(axis=0, dtype=np.float64).sum()
    return float(added / max(features.var(axis=0, dtype=np.float64).sum(), 1e-12))


def _compare(
    pictures: Pictures, rounded: Pictures, judged: dict[str, OutOfFold], config: FitConfig
) -> dict[str, Any]:
    """Both precisions judged on the same folds, picture by picture."""
    classes = pictures.classes
    right = {name: it.logits.argmax(axis=1) == classes for name, it in judged.items()}
    gained = right["int8"].astype(np.int64) - right["fp32"]  # -1, 0 or 1 a picture
    sizes = np.bincount(classes)
    loss = -float(np.mean([gained[classes == k].mean() for k in range(len(sizes))]))
    one_picture = 1 / (len(sizes) * int(sizes.min()))
    noise = noise_share(pictures.extracted.features, rounded.extracted.features)
    return {
        name: {"balanced_accuracy": float(np.mean([it[classes == k].mean() for k in set(classes)]))}
        for name, it in right.items()
    } | {
        "gained": int((gained > 0).sum()),
        "lost": int((gained < 0).sum()),
        "noise_share": noise,
        "accurate": loss <= max(config.precision_loss, one_picture) + 1e-9,
        "faithful": noise <= config.precision_noise,
    }


def _verdict(compared: dict[str, Any], config: FitConfig) -> str:
    shares = {name: f"{compared[name]['balanced_accuracy']:.1%}" for name in ("fp32", "int8")}
    reasons = {
        "accurate": "it loses more than is allowed",
        "faithful": "its rounding changes the features too much",
        "faster": f"it is not {config.precision_speedup:g} times as fast here",
    }
    failed = [reason for test, reason in reasons.items() if not compared[test]]
    why = f"although {' and '.join(failed)}" if failed else "as accurate, and faster"
    if compared["published"] == "fp32":
        why = f"int8 was not taken: {' and '.join(failed)}"
    elif config.precision == "int8":
        why = f"asked for, {why}" if failed else "asked for"
    return (
        f"Published in {compared['published']} ({why}): on the same folds fp32 has "
        f"{shares['fp32']} balanced accuracy and int8 {shares['int8']}, {compared['gained']} "
        f"pictures gained and {compared['lost']} lost; rounding adds "
        f"{compared['noise_share']:.1%} to the features' variance."
    )


def _calibration_places(pictures: Pictures, most: int) -> list[int]:
    """Pictures spread evenly over the data set, and so over its classes; all of a small one."""
    count = len(pictures.names)
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))


def _scaled(pictures: Pictures, places: list[int], extractor: Extractor) -> torch.Tensor:
    """float32 (n, 3, S, S) of some pictures, as the network takes them."""
    size = extractor.input_px
    return extractor.scale(
        torch.stack([decode_image(pictures.data(place), size=size) for place in places])
    )


def _extract_again(
    pictures: Pictures,
    extractor: Extractor,
    cache: Cache,
    progress: Callable[[int, int], object],
) -> Pictures:
    """The same pictures with another extractor's features."""
    total = len(pictures.names)
    extracted = extract(
        pictures.listing.source,
        pictures.names,
        extractor,
        cache,
        progress=lambda done: progress(done, total),
    )
    if extracted.unreadable:
        first = extracted.unreadable[0]
        raise UnreadableData(f"{first.name} could be read a moment ago: {first.why}")
    return dataclasses.replace(
        pictures,
        extracted=dataclasses.replace(pictures.extracted, features=extracted.features),
    )


def _rates(
    backbone: LoadedBackbone, quick: LoadedBackbone, extractor: Extractor, cache: Cache
) -> dict[str, float]:
    """Pictures a second of both, measured once a machine and backbone and kept in the cache.

    A decision that rests on a clock could otherwise fall differently in the next run.
    """
    key = f"rates:{int8.VERSION}:{extractor.key}:{usable_cores()}"
    if (known := cache.get(key)) is not None:
        return dict(json.loads(known))
    blank = Head(
        np.zeros((2, backbone.spec.pooled_width), np.float32), np.zeros(2, np.float32), 1.0
    )
    size = backbone.spec.input_px
    graphs = {
        "fp32": load_graph(export(Classifier(backbone, blank), input_px=size)),
        "int8": load_graph(export(Classifier(quick, blank), input_px=size, precision="int8")),
    }
    rates = measure_rates(graphs, input_px=size)
    found = {name: round(statistics.median(several), 1) for name, several in rates.items()}
    cache.put([(key, json.dumps(found).encode())])
    return found


def measure_rates(
    graphs: dict[str, torch.jit.ScriptModule], *, input_px: int, rounds: int = _ROUNDS
) -> dict[str, list[float]]:
    """Pictures a second of graphs that take turns, in as many one-thread lanes as cores."""
    lanes = usable_cores()
    pixels = torch.full((_LANE_BATCH, 3, input_px, input_px), 128, dtype=torch.uint8)

    def run(graph: torch.jit.ScriptModule) -> None:
        for _ in range(_BATCHES):
            answer(graph, pixels)

    rates: dict[str, list[float]] = {name: [] for name in graphs}
    with ThreadPoolExecutor(lanes, initializer=lambda: torch.set_num_threads(1)) as pool:
        for turn in range(rounds + 1):  # the first warms up: TorchScript compiles
            for name, graph in graphs.items():
                began = time.perf_counter()
                list(pool.map(run, [graph] * lanes))
                if turn:
                    took = time.perf_counter() - began
                    rates[name].append(lanes * _BATCHES * _LANE_BATCH / took)
    return rates

"""Publication of a trained model: the files of its bundle, and the fields of its manifest."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from models.bundle.files import CARD, MODEL, REPORT
from models.bundle.load import Bundle, answer
from models.bundle.manifest import (
    CropFacts,
    DecisionFacts,
    Golden,
    OodFacts,
    PrecisionFacts,
)
from models.bundle.out_of_fold import OUT_OF_FOLD, TEST_ANSWERS
from models.bundle.publish import publish
from models.bundle.signing import PrivateKey
from models.errors import StoreNotSynced, reason_of
from models.imaging.decode import DECODER
from models.imaging.faces import CROPPER
from training.config import FitConfig
from training.errors import OutputError
from training.publish.golden import choose_golden, decode_pool, draw_pool
from training.summary import Summary

SUMMARY: Final = "summary.json"


@dataclass(frozen=True)
class BundleContent:
    """A trained model and its documents, to publish together.

    Attributes:
        model: TorchScript file.
        graph: The same, loaded.
        input_px: Edge S of the model's input.
        precision: Number format of the backbone.
        summary: The metrics.
        report: HTML page.
        card: Model card in Markdown.
        out_of_fold: Out-of-fold answers (`models.bundle.out_of_fold`).
        test_answers: Answers to the pictures of test sets; empty without any.
        examples: Example pictures by file name, if the data set may be shown.
    """

    model: bytes
    graph: torch.jit.ScriptModule
    input_px: int
    precision: PrecisionFacts
    summary: Summary
    report: str
    card: str
    out_of_fold: bytes
    test_answers: bytes
    examples: Mapping[str, bytes]


def publish_bundle(
    store: Path,
    content: BundleContent,
    config: FitConfig,
    *,
    key: PrivateKey | None = None,
    promote: bool = True,
) -> Bundle:
    """Write a bundle into a store and, unless told otherwise, make it the current one.

    Args:
        store: Folder of bundles, made if it does not exist.
        content: What to publish.
        config: Crop, seed, and the number and tolerance of golden pictures.
        key: Signs the bundle.
        promote: Make it the current one.

    Raises:
        OutputError: The store cannot be written to, or the disk does not confirm the change.
        BundleError: The bundle does not verify; nothing was published.
    """
    files = {
        MODEL: content.model,
        REPORT: content.report.encode(),
        SUMMARY: json.dumps(content.summary, indent=2, ensure_ascii=False).encode() + b"\n",
        CARD: content.card.encode(),
        OUT_OF_FOLD: content.out_of_fold,
        **({TEST_ANSWERS: content.test_answers} if content.test_answers else {}),
        **content.examples,
    }
    try:
        return publish(store, files, _manifest_fields(content, config), key=key, promote=promote)
    except StoreNotSynced as error:
        raise OutputError(str(error)) from error
    except OSError as error:
        raise OutputError(
            f"The bundle cannot be written to {store} ({reason_of(error)}); "
            "the current version is unchanged."
        ) from error


def _manifest_fields(content: BundleContent, config: FitConfig) -> dict[str, Any]:
    summary = content.summary
    decision, familiarity = summary["decision"], summary["familiarity"]
    framing = summary["framing"]
    return {
        "labels": summary["labels"],
        "input_px": content.input_px,
        "decoder": DECODER,
        "crop": CropFacts(name=config.crop, cropper=CROPPER if config.crop == "faces" else None),
        "backbone": summary["backbone"],
        "precision": content.precision,
        "dataset": summary["dataset"],
        "config": summary["config"],
        "metrics": {
            "cross_validation": summary["cross_validation"],
            "naive_split": summary["naive_split"],
            "calibration": summary["calibration"],
            "tests": summary["tests"],
        },
        "packages": summary["packages"],
        "decision": DecisionFacts(
            threshold=decision["threshold"],
            target_error=decision["target_error"],
            coverage=decision["coverage"],
        ),
        "familiarity": familiarity
        and {name: familiarity.get(name) for name in OodFacts.model_fields},
        "framing": framing and framing["facts"],
        "golden": _golden(content, config),
    }


def _golden(content: BundleContent, config: FitConfig) -> Golden:
    pool = draw_pool(config.seed)
    pixels = torch.stack(decode_pool(pool, size=content.input_px))
    fp32 = content.precision.name == "fp32"
    return choose_golden(
        pool,
        answer(content.graph, pixels),
        num_pictures=config.golden_pictures,
        tolerance=config.golden_tolerance if fp32 else config.golden_tolerance_int8,
    )

"""Schema of a bundle's `manifest.json`, version 1."""

import unicodedata
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    Base64Bytes,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from models.text import clean

SCHEMA_VERSION: Final = 1

VERSION_PATTERN: Final = r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$"
"""Time of publication (UTC), and the first digits of the model's checksum."""

MAX_LABELS: Final = 1000
_MAX_READ_LABEL_CHARS: Final = 255  # of earlier releases; new labels: models/layout/labels.py
_MAX_FILES: Final = 1000
_MAX_GOLDEN_PICTURES: Final = 1000
_MAX_EDGE_PX: Final = 2048


def _visible(text: str) -> str:
    """Return a text in NFC; raise if it has line ends, control characters and the like."""
    if clean(text) != text:
        raise ValueError(f"{clean(text)!r} has characters that cannot be shown")
    return unicodedata.normalize("NFC", text)


def _plain_name(name: str) -> str:
    """Return a name; raise unless it is one path component, which cannot leave the bundle."""
    if name in ("", ".", "..") or any(char in name for char in "/\\\0"):
        raise ValueError(f"{name!r} is not a plain file name")
    return name


def _label(label: str) -> str:
    """Return a label; raise if it is blank."""
    if not label.strip():
        raise ValueError("a label is blank")
    return label


def _unique(labels: list[str]) -> list[str]:
    """Return labels; raise unless all are different."""
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise ValueError(f"{twice!r} is repeated")
    return labels


ShortText = Annotated[str, Field(max_length=1000), AfterValidator(_visible)]
Label = Annotated[
    str, Field(max_length=_MAX_READ_LABEL_CHARS), AfterValidator(_visible), AfterValidator(_label)
]
Labels = Annotated[list[Label], Field(min_length=2, max_length=MAX_LABELS), AfterValidator(_unique)]
FileName = Annotated[
    str, Field(max_length=255), AfterValidator(_plain_name), AfterValidator(_visible)
]
Share = Annotated[float, Field(ge=0, le=1, strict=True, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileFacts(_Section):
    """Size in bytes and checksum of one file of the bundle."""

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class BackboneFacts(_Section):
    """The pretrained feature extractor and the source of its weights."""

    name: ShortText
    source: ShortText
    licence: ShortText
    weights_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    feature_width: int = Field(gt=0)


class DatasetFacts(_Section):
    """Numbers of the pictures that the head was fitted on."""

    fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$")
    pictures: dict[Label, int] = Field(max_length=MAX_LABELS)
    groups: int = Field(ge=0)
    skipped: int = Field(ge=0)
    corrected: int = Field(ge=0, default=0)
    left_out: int = Field(ge=0, default=0)


class DecisionFacts(_Section):
    """Selective classification: the threshold between a label and `uncertain`.

    Attributes:
        threshold: Highest probability below which the answer is `uncertain`.
        target_error: Requested share of errors among the answers that are labels.
        coverage: Share of pictures answered with a label in cross-validation.
    """

    threshold: float = Field(ge=0, le=1)
    target_error: float = Field(ge=0, le=1)
    coverage: float = Field(ge=0, le=1)


class OodFacts(_Section):
    """Out-of-distribution detection by the distance to the k-th nearest training picture.

    Attributes:
        threshold: Distance, the graph's third output, above which a picture is unfamiliar.
        false_alarms: Share of pictures above it, among those of the training pictures' source.
        neighbours: k, for the distance to the k-th nearest reference.
        references: Number of training pictures that the graph compares with.
        mean_distance: Mean over the training pictures, each measured against other folds.
    """

    threshold: float = Field(ge=0, le=2)
    false_alarms: float = Field(gt=0, lt=1)
    neighbours: int = Field(ge=1)
    references: int = Field(ge=1)
    mean_distance: float = Field(ge=0, le=2)


class PrecisionFacts(_Section):
    """The arithmetic of the model.

    Attributes:
        name: Precision of the backbone; the head is always fp32.
        engine: PyTorch's quantized engine, for int8 only.
        images_per_s: Forward passes per second on the training machine, by precision, if both
            were measured, alternately in one process.
    """

    name: Literal["fp32", "int8"] = "fp32"
    engine: Literal["onednn"] | None = None
    images_per_s: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _engine_if_int8(self) -> "PrecisionFacts":
        if (self.name == "int8") != (self.engine is not None):
            raise ValueError("int8 names its engine, and fp32 has none")
        return self


class CropFacts(_Section):
    """The part of a picture that is the model's input.

    Attributes:
        name: The `whole` picture, or the main one of its `faces`, if it has any.
        cropper: Method that finds and cuts out faces: `models.imaging.faces.CROPPER` at training.
    """

    name: Literal["whole", "faces"] = "whole"
    cropper: ShortText | None = None

    @model_validator(mode="after")
    def _cropper_if_faces(self) -> "CropFacts":
        if (self.name == "faces") != (self.cropper is not None):
            raise ValueError("faces name their cropper, and whole pictures have none")
        return self


Margin = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
"""Distance from a face's box to the picture's edge, in lengths of the box's longer side."""


class FramingFacts(_Section):
    """How the training pictures are framed on one face each; see `models.imaging.framing`.

    Attributes:
        framer: Method that finds and frames the main face: `FRAMER` at training.
        searched: Number of training pictures that were searched for faces.
        framed: Number of these that show one face at about the same size.
        margins: Left, top, right and bottom margin of the median picture.
        beyond: Distance to the training pictures above which a face is looked for.
    """

    framer: ShortText
    searched: int = Field(ge=1)
    framed: int = Field(ge=0)
    margins: tuple[Margin, Margin, Margin, Margin]
    beyond: float = Field(ge=0, le=2)


class GoldenPicture(_Section):
    """A synthetic picture (an encoded file) and its recorded outputs."""

    picture: Base64Bytes
    probabilities: list[float]
    activation_means: list[float]
    distance: float | None = None


class ScoreFacts(BaseModel):
    """Cross-validation metrics that programs read; a bundle may lack them, and have others."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    balanced_accuracy: Share | None = None
    balanced_accuracy_interval_95: tuple[Share, Share] | None = None
    pictures: int | None = Field(default=None, ge=0)
    mean_score: Share | None = None


def _readable_metrics(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return metrics; raise unless those that programs read are valid."""
    try:
        ScoreFacts.model_validate(metrics.get("cross_validation", {}))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["cross_validation", *(str(step) for step in first["loc"])])
        raise ValueError(f"{where}: {first['msg']}") from error
    return metrics


class Golden(_Section):
    """Pictures with their recorded answers, to verify a loaded model."""

    tolerance: float = Field(gt=0, le=0.1)
    pictures: list[GoldenPicture] = Field(min_length=1, max_length=_MAX_GOLDEN_PICTURES)


class Manifest(_Section):
    """Facts that are needed to use a model correctly, and to trace its origin."""

    schema_version: Literal[1] = SCHEMA_VERSION
    version: str = Field(pattern=VERSION_PATTERN)
    created_at: datetime
    labels: Labels
    input_px: int = Field(gt=0, le=_MAX_EDGE_PX)
    decoder: ShortText
    crop: CropFacts = CropFacts()  # absent before cropping to faces
    backbone: BackboneFacts
    precision: PrecisionFacts = PrecisionFacts()  # absent before int8
    dataset: DatasetFacts
    config: dict[str, Any]
    metrics: Annotated[dict[str, Any], AfterValidator(_readable_metrics)]
    packages: dict[str, str]
    decision: DecisionFacts
    familiarity: OodFacts | None = None  # absent before out-of-distribution detection
    framing: FramingFacts | None = None  # absent unless pictures are framed on one face each
    golden: Golden
    files: dict[FileName, FileFacts] = Field(max_length=_MAX_FILES)

    @property
    def scores(self) -> ScoreFacts:
        """The cross-validation metrics that programs read."""
        return ScoreFacts.model_validate(self.metrics.get("cross_validation", {}))

    @model_validator(mode="after")
    def _framing_is_decidable(self) -> "Manifest":
        if self.framing is not None and (self.familiarity is None or self.crop.name == "faces"):
            raise ValueError("framing needs familiarity, and whole pictures")
        return self

    @model_validator(mode="after")
    def _golden_answers_match(self) -> "Manifest":
        for golden in self.golden.pictures:
            if not len(golden.probabilities) == len(golden.activation_means) == len(self.labels):
                raise ValueError(f"a golden answer is not one of {len(self.labels)} labels")
            if (golden.distance is None) != (self.familiarity is None):
                raise ValueError("golden pictures have a distance where there is familiarity")
        return self


def schema_fault(error: ValidationError) -> str:
    """Return a sentence on the first fault of a manifest that breaks its schema."""
    first = error.errors()[0]
    where = ".".join(str(step) for step in first["loc"]) or "the file"
    return clean(f"{where}: {first['msg'].removeprefix('Value error, ')}.")

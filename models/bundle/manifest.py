"""What a bundle says of itself: `manifest.json`, schema version 1."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Base64Bytes, BaseModel, ConfigDict, Field, model_validator

SCHEMA_VERSION: Final = 1

VERSION_PATTERN: Final = r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$"
"""Moment of publication (UTC), and the first digits of the model's checksum."""


def _plain_name(name: str) -> str:
    """A file's name inside its bundle: one path component that leads nowhere else."""
    if name in ("", ".", "..") or any(char in name for char in "/\\\0"):
        raise ValueError(f"{name!r} is not a plain file name")
    return name


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileFacts(_Part):
    """Size in bytes and checksum of one file of the bundle."""

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class BackboneFacts(_Part):
    """The pretrained feature extractor and where its weights come from."""

    name: str
    source: str
    licence: str
    weights_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    feature_width: int = Field(gt=0)


class DatasetFacts(_Part):
    """The pictures that the head was fitted on."""

    fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$")
    pictures: dict[str, int]
    groups: int = Field(ge=0)
    skipped: int = Field(ge=0)
    corrected: int = Field(ge=0, default=0)
    left_out: int = Field(ge=0, default=0)


class DecisionFacts(_Part):
    """When the answer is a label and when it is `uncertain`.

    Attributes:
        threshold: An answer whose highest probability is below is `uncertain`.
        target_error: Share of wrong answers among those given that was asked for.
        coverage: Share of pictures that got an answer in cross-validation.
    """

    threshold: float = Field(ge=0, le=1)
    target_error: float = Field(ge=0, le=1)
    coverage: float = Field(ge=0, le=1)


class FamiliarityFacts(_Part):
    """When a picture is unlike those that the model was trained on.

    Attributes:
        threshold: A picture whose distance, the graph's third output, is above is unfamiliar.
        false_alarms: Share of pictures from the training pictures' own source above it.
        neighbours: The distance is that of the so many-th nearest reference.
        references: Training pictures that the graph compares with.
        mean_distance: Of the training pictures themselves, each from those of other folds.
    """

    threshold: float = Field(ge=0, le=2)
    false_alarms: float = Field(gt=0, lt=1)
    neighbours: int = Field(ge=1)
    references: int = Field(ge=1)
    mean_distance: float = Field(ge=0, le=2)


class PrecisionFacts(_Part):
    """The arithmetic inside the model.

    Attributes:
        name: Of the backbone; the head is always fp32.
        engine: PyTorch's quantised engine that int8 needs.
        images_per_s: Forward passes on the training machine, by precision, where both were
            measured, in turns and in one process.
    """

    name: Literal["fp32", "int8"] = "fp32"
    engine: Literal["onednn"] | None = None
    images_per_s: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _engine_where_it_is_needed(self) -> "PrecisionFacts":
        if (self.name == "int8") != (self.engine is not None):
            raise ValueError("int8 names its engine, and fp32 has none")
        return self


class CropFacts(_Part):
    """What of a picture the model is given.

    Attributes:
        name: `whole` pictures, or the main one of its `faces`, where it has any.
        cropper: How faces are found and cut out: `models.imaging.faces.CROPPER` of the training.
    """

    name: Literal["whole", "faces"] = "whole"
    cropper: str | None = None

    @model_validator(mode="after")
    def _cropper_where_it_is_needed(self) -> "CropFacts":
        if (self.name == "faces") != (self.cropper is not None):
            raise ValueError("faces name their cropper, and whole pictures have none")
        return self


class GoldenPicture(_Part):
    """A synthetic picture (an encoded file) and the answer it must give."""

    picture: Base64Bytes
    probabilities: list[float]
    activation_means: list[float]
    distance: float | None = None


class Golden(_Part):
    """The proof that a loaded model is the one that was trained."""

    tolerance: float = Field(gt=0, le=0.1)
    pictures: list[GoldenPicture] = Field(min_length=1)


class Manifest(_Part):
    """Everything that is needed to use a model rightly, and to say where it came from."""

    schema_version: Literal[1] = SCHEMA_VERSION
    version: str = Field(pattern=VERSION_PATTERN)
    created_at: datetime
    labels: list[str] = Field(min_length=2)
    input_px: int = Field(gt=0, le=2048)
    decoder: str
    crop: CropFacts = CropFacts()  # bundles of before faces do not say
    backbone: BackboneFacts
    precision: PrecisionFacts = PrecisionFacts()  # bundles of before int8 do not say
    dataset: DatasetFacts
    config: dict[str, Any]
    metrics: dict[str, Any]
    packages: dict[str, str]
    decision: DecisionFacts
    familiarity: FamiliarityFacts | None = None  # earlier bundles cannot tell
    golden: Golden
    files: dict[Annotated[str, AfterValidator(_plain_name)], FileFacts]

    @model_validator(mode="after")
    def _as_many_answers_as_labels(self) -> "Manifest":
        for golden in self.golden.pictures:
            if not len(golden.probabilities) == len(golden.activation_means) == len(self.labels):
                raise ValueError(f"a golden answer is not one of {len(self.labels)} labels")
            if (golden.distance is None) != (self.familiarity is None):
                raise ValueError("golden pictures have a distance where there is familiarity")
        return self

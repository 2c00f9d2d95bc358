"""Options of a training, as the page and the command line offer them."""

from collections.abc import Iterator
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from studio.problems import BadOptions

Kind = Literal["fit", "audit"]


class JobOptions(BaseModel):
    """Options of a job; each description is its help."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Literal["fast", "balanced", "accurate"] = Field(
        default="balanced",
        title="Network",
        description="The pretrained network (backbone) that the model is built on.",
    )
    crop: Literal["whole", "faces"] = Field(
        default="whole",
        title="Part of the picture",
        description="Whole pictures, or the main face of each.",
    )
    precision: Literal["auto", "fp32", "int8"] = Field(
        default="auto",
        title="Number format",
        description="8-bit numbers (int8) are faster; auto uses them if they are as accurate.",
    )
    target_error: float = Field(
        default=0.01,
        gt=0,
        lt=1,
        title="Wrong answers allowed",
        description="Target share of wrong answers among those given; the others are 'uncertain'.",
    )
    views: int = Field(
        default=4,
        ge=0,
        le=20,
        title="Altered copies",
        description="Slightly altered copies per picture, to train on, too (augmentation).",
    )
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**31,
        title="Seed",
        description="The same data, options and seed give the same model.",
    )
    finetune: bool = Field(
        default=False,
        title="Fine-tune",
        description="Train the network's last stage as well: minutes instead of seconds.",
    )


_TITLES: Final = {
    "fast": "Fast",
    "balanced": "Standard",
    "accurate": "Accurate",
    "whole": "The whole picture",
    "faces": "The main face",
    "auto": "Automatic",
    "fp32": "32-bit",
    "int8": "8-bit",
}


def parse_options(given: dict[str, Any]) -> JobOptions:
    """Return checked options.

    Raises:
        BadOptions: An option is unknown, or its value is invalid.
    """
    try:
        return JobOptions.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(step) for step in first["loc"])
        raise BadOptions(f"Option {name}: {first['msg']}.") from error


def describe_options() -> Iterator[dict[str, Any]]:
    """Yield each option for a form: kind, choices or limits, default, title, help."""
    properties = JobOptions.model_json_schema()["properties"]
    for name, schema in properties.items():
        row = {
            "name": name,
            "title": schema["title"],
            "help": schema["description"],
            "default": schema["default"],
        }
        if "enum" in schema:
            choices = [{"value": value, "title": _TITLES[value]} for value in schema["enum"]]
            yield row | {"kind": "choice", "choices": choices}
        elif schema["type"] == "boolean":
            yield row | {"kind": "switch"}
        else:
            low = schema.get("minimum", schema.get("exclusiveMinimum"))
            high = schema.get("maximum", schema.get("exclusiveMaximum"))
            whole = schema["type"] == "integer"
            yield row | {"kind": "number", "low": low, "high": high, "whole": whole}


def arguments_of(options: JobOptions) -> list[str]:
    """Return options as arguments of `python -m training fit`."""
    arguments = [
        "--preset", options.preset,
        "--crop", options.crop,
        "--precision", options.precision,
        "--target-error", f"{options.target_error:g}",
        "--views", str(options.views),
        "--seed", str(options.seed),
    ]  # fmt: skip
    return [*arguments, "--finetune"] if options.finetune else arguments

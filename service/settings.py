"""Every setting of the service, read once from the environment when it starts."""

from pathlib import Path

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.limits import MAX_PIXELS, MAX_PIXELS_CEILING


class Settings(BaseSettings):
    """Read from FACEMASK_* variables; a bad value stops the start with a sentence."""

    model_config = SettingsConfigDict(env_prefix="FACEMASK_", frozen=True)

    store: Path = Field(
        default=Path("models/artifacts"), description="Folder of bundles that the job publishes to."
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(
        default=8000,
        ge=0,
        le=65535,
        validation_alias=AliasChoices("FACEMASK_PORT", "PORT"),
        description="Port to listen on; PORT is honoured, too, as container platforms set it.",
    )
    poll_s: float = Field(
        default=1.0,
        gt=0,
        le=3600,
        description="Seconds between looks at the store's CURRENT file. Looking costs one small "
        "read, and works on volumes where file events do not arrive.",
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Lanes that decode and run the model, a thread each; 0 takes what affinity "
        "and the container's CPU quota allow.",
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Processes. They divide the threads among them and load the model each; worth "
        "it where one process cannot keep all cores busy.",
    )
    max_batch: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Most pictures in one forward pass; 0 measures what is best as a model starts.",
    )
    max_files: int = Field(default=64, ge=1, le=10_000, description="Most pictures a request.")
    max_body_bytes: int = Field(
        default=64 * 2**20, ge=1, description="Largest request body, in bytes."
    )
    max_pixels: int = Field(
        default=MAX_PIXELS,
        ge=1,
        le=MAX_PIXELS_CEILING,
        description="Most pixels a picture, width x height, judged before decoding.",
    )
    max_waiting: int = Field(
        default=256,
        ge=1,
        description="Most pictures accepted and not yet answered, a process; beyond, requests get "
        "429.",
    )
    deadline_s: float = Field(
        default=30.0, gt=0, le=3600, description="Most seconds from upload to answer; then 504."
    )

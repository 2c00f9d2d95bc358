"""Every setting of the service, read once from the environment when it starts."""

import re
from pathlib import Path
from typing import Final, Literal

from pydantic import AliasChoices, Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.bundle.store import DEFAULT_STORE
from models.errors import KeyUnusable
from models.imaging.limits import DECODE_S, MAX_FILE_BYTES, MAX_PIXELS, MAX_PIXELS_CEILING

_HASH: Final = re.compile(r"[0-9a-f]{64}")


def split_names(text: str) -> list[str]:
    """The parts of a comma separated list; none for an empty text.

    Raises:
        ValueError: A part is empty.
    """
    names = [part.strip() for part in text.split(",")] if text else []
    if not all(names):
        raise ValueError("one of the comma separated names is empty.")
    return names


def split_hashes(text: str) -> list[str]:
    """The hashes of a comma separated list; none for an empty text.

    Raises:
        ValueError: One of them is not the hash of a key.
    """
    hashes = [part.strip().lower() for part in text.split(",")] if text else []
    for found in hashes:
        if not _HASH.fullmatch(found):
            raise ValueError(
                f"{found!r} is no SHA-256 hash: `python -m service.keys` makes a key and its hash."
            )
    return hashes


class Settings(BaseSettings):
    """Read from FACEMASK_* variables; a bad value stops the start with a sentence."""

    model_config = SettingsConfigDict(env_prefix="FACEMASK_", frozen=True)

    store: Path = Field(
        default=DEFAULT_STORE, description="Folder of bundles that the job publishes to."
    )
    trusted_keys: str = Field(
        default="",
        description="Public keys, or their PEM files, comma separated: only bundles signed by one "
        "of them are opened.",
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
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto",
        description="Where the model runs: `cpu`, `cuda` (in half precision; fp32 models only), or "
        "`auto`: CUDA where there is a device and the model can run on it.",
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
    max_faces: int = Field(
        default=16,
        ge=1,
        le=256,
        description="Most faces that are answered a picture, the likeliest first.",
    )
    max_body_bytes: int = Field(
        default=64 * 2**20, ge=1, description="Largest request body, in bytes."
    )
    max_pixels: int = Field(
        default=MAX_PIXELS,
        ge=1,
        le=MAX_PIXELS_CEILING,
        description="Most pixels a picture, width x height, judged before decoding.",
    )
    max_file_bytes: int = Field(
        default=MAX_FILE_BYTES, ge=1, description="Most bytes a picture's file, as it is encoded."
    )
    decode_s: float = Field(
        default=DECODE_S,
        gt=0,
        le=3600,
        description="Most processor seconds that decoding one picture may take.",
    )
    max_waiting: int = Field(
        default=256,
        ge=1,
        description="Most pictures accepted and not yet answered, a process; beyond, requests get "
        "429.",
    )
    max_waiting_pixels: int = Field(
        default=1_000_000_000,
        ge=1,
        description="Most pixels of these pictures together, by their headers; beyond, 429.",
    )
    max_bodies_bytes: int = Field(
        default=256 * 2**20,
        ge=1,
        description="Most bytes of request bodies in memory at a time, those that are still being "
        "read and those whose pictures wait, a process; beyond, 429.",
    )
    max_header_bytes: int = Field(
        default=32 * 2**10,
        ge=256,
        description="Most bytes of a request's line and headers; beyond, 431.",
    )
    header_s: float = Field(
        default=10.0,
        gt=0,
        le=3600,
        description="Most seconds until a new connection, or a request that has begun, has sent "
        "all its headers; then 408.",
    )
    body_s: float = Field(
        default=20.0,
        gt=0,
        le=3600,
        description="Most seconds for a request's body to come; then 408. A caller who takes no "
        "answer for so long is cut off.",
    )
    idle_s: int = Field(
        default=5,
        ge=1,
        le=3600,
        description="Seconds after which a connection without a request is closed.",
    )
    max_connections: int = Field(
        default=1100,
        ge=1,
        description="Most connections at a time, a process; beyond, new ones get 503.",
    )
    deadline_s: float = Field(
        default=30.0, gt=0, le=3600, description="Most seconds from upload to answer; then 504."
    )

    api_keys: str = Field(
        default="",
        description="SHA-256 hashes of API keys, comma separated (`python -m service.keys`); one "
        "is then asked for wherever pictures are answered, and for the report.",
    )
    allowed_hosts: str = Field(
        default="",
        description="Names that the service answers to, comma separated, `*.example.org` among "
        "them; empty for any.",
    )
    cors_origins: str = Field(
        default="",
        description="Origins of web pages that may call, comma separated, or `*`; empty for none "
        "but its own.",
    )
    grace_s: float = Field(
        default=2.0,
        ge=0,
        le=600,
        description="Seconds from SIGTERM in which /readyz says no and requests are still taken.",
    )
    drain_s: int = Field(
        default=30,
        ge=1,
        le=3600,
        description="Most seconds after that for requests in hand; what is left gets 503.",
    )
    stuck_s: float = Field(
        default=60.0,
        gt=0,
        le=3600,
        description="Seconds without any answer of the model, or of one lane at one batch, "
        "after which /livez fails.",
    )
    log_format: Literal["console", "json"] = Field(
        default="console", description="Log lines for people, or one JSON object each."
    )
    traces: str = Field(
        default="",
        description="Address that OpenTelemetry spans are sent to, by OTLP over HTTP.",
    )

    @field_validator("api_keys")
    @classmethod
    def _hashes_are_hashes(cls, text: str) -> str:
        split_hashes(text)
        return text

    @field_validator("allowed_hosts", "cors_origins")
    @classmethod
    def _names_are_names(cls, text: str) -> str:
        split_names(text)
        return text

    @field_validator("trusted_keys")
    @classmethod
    def _keys_can_be_read(cls, text: str) -> str:
        if text:
            from models.bundle.signing import load_public_keys  # cryptography takes time to load

            try:
                load_public_keys(text)
            except KeyUnusable as error:
                raise ValueError(str(error)) from error
        return text

"""Settings of the service, read once from the environment when it starts."""

from pathlib import Path
from typing import Final, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from models.bundle.store import checkout_store
from models.environment import warn_of_injected, warn_of_unknown
from models.imaging.limits import DECODE_S, MAX_FILE_BYTES, MAX_PIXELS, MAX_PIXELS_CEILING
from service.settings.environment import Environment, variables_of
from service.settings.values import (
    check_host_names,
    check_origins,
    check_page_address,
    check_public_keys,
    split_hashes,
)

# Variables of the training job and the client, which may share an env file with the service.
_VARIABLES_OF_OTHERS: Final = {"FACEMASK_CACHE", "FACEMASK_KEY"}


class Settings(BaseSettings):
    """Settings from FACEMASK_* variables; each description is its row in the documentation."""

    # Errors are logged, and an input may be a secret.
    model_config = SettingsConfigDict(frozen=True, hide_input_in_errors=True)

    store: Path = Field(
        default_factory=checkout_store,
        description="Folder of model bundles that training publishes to. The default is in the "
        "checkout, whatever the working directory is.",
    )
    trusted_keys: str = Field(
        default="",
        description="Public keys, or paths of their PEM files, comma-separated. If set, only "
        "bundles signed by one of them are loaded.",
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(
        default=8000,
        ge=0,
        le=65535,
        description="Port to listen on. PORT, as container platforms set it, is read as well.",
    )
    poll_s: float = Field(
        default=1.0,
        gt=0,
        le=3600,
        description="Seconds between reads of the store's CURRENT file. Polling costs one small "
        "read, and works on volumes that deliver no file events.",
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Lanes, that is threads that decode pictures and run the model. 0 uses as many "
        "as CPU affinity and the container's CPU quota allow.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto",
        description="Device that runs the model: `cpu`, `cuda` (in half precision, fp32 models "
        "only), or `auto` for CUDA if there is a device that can run the model.",
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Number of processes. They divide the threads among them, and each loads the "
        "model. More than one pays off if one process cannot keep all cores busy.",
    )
    threshold: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Scores below it are decided `uncertain`, unless a request has a `threshold` "
        "of its own. Unset, the threshold that training chose.",
    )
    max_batch: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Max pictures per forward pass. 0 measures the best size when a model starts.",
    )
    max_files: int = Field(default=64, ge=1, le=10_000, description="Max pictures per request.")
    max_faces: int = Field(
        default=16,
        ge=1,
        le=256,
        description="Max faces answered per picture; the highest face scores win.",
    )
    max_body_bytes: int = Field(
        default=64 * 2**20, ge=1, description="Max bytes per request body; beyond, 413."
    )
    max_pixels: int = Field(
        default=MAX_PIXELS,
        ge=1,
        le=MAX_PIXELS_CEILING,
        description="Max pixels per picture, width x height, checked before decoding; beyond, 413.",
    )
    max_file_bytes: int = Field(
        default=MAX_FILE_BYTES,
        ge=1,
        description="Max bytes per encoded picture file; beyond, 413.",
    )
    decode_s: float = Field(
        default=DECODE_S,
        gt=0,
        le=3600,
        description="Max CPU seconds to decode one picture; beyond, 413.",
    )
    max_waiting: int = Field(
        default=256,
        ge=1,
        description="Max pictures per process that are accepted and not yet answered; beyond, 429.",
    )
    max_waiting_pixels: int = Field(
        default=1_000_000_000,
        ge=1,
        description="Max total pixels of these pictures, by their headers; beyond, 429.",
    )
    max_bodies_bytes: int = Field(
        default=256 * 2**20,
        ge=1,
        description="Max bytes of request bodies in memory per process, both of requests still "
        "being read and of requests whose pictures wait; beyond, 429.",
    )
    max_header_bytes: int = Field(
        default=32 * 2**10,
        ge=256,
        description="Max bytes of a request line and its headers; beyond, 431.",
    )
    header_s: float = Field(
        default=10.0,
        gt=0,
        le=3600,
        description="Max seconds for a new connection, or a started request, to send all its "
        "headers; beyond, 408.",
    )
    body_s: float = Field(
        default=20.0,
        gt=0,
        le=3600,
        description="Max seconds for a request body to arrive; beyond, 408. A client that reads "
        "none of its answer for this long is disconnected.",
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
        description="Max open connections per process; beyond, new ones get 503.",
    )
    deadline_s: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="Max seconds from the start of a request to its answer; beyond, 504.",
    )

    api_keys: str = Field(
        default="",
        description="SHA-256 hashes of API keys, comma-separated (`python -m service.keys` makes "
        "one). If set, predictions and the report require a key.",
    )
    allowed_hosts: str = Field(
        default="",
        description="Host names that the service answers to, comma-separated, such as "
        "`*.example.org`; empty for any.",
    )
    cors_origins: str = Field(
        default="",
        description="Origins of web pages that may call the API, comma-separated, or `*` for any; "
        "empty for the service's own page only.",
    )
    studio_url: str = Field(
        default="",
        description="Address of the studio, such as `http://127.0.0.1:8001`, that the web page "
        "leads to for corrections; empty for none.",
    )
    grace_s: float = Field(
        default=2.0,
        ge=0,
        le=600,
        description="Seconds after SIGTERM in which /readyz fails and requests are still accepted.",
    )
    drain_s: int = Field(
        default=30,
        ge=1,
        le=3600,
        description="Max seconds after that for requests in progress; the rest get 503.",
    )
    stuck_s: float = Field(
        default=60.0,
        gt=0,
        le=3600,
        description="Seconds without any answer of the model, or that one lane spends on one "
        "batch, after which /livez fails.",
    )
    log_format: Literal["console", "json"] = Field(
        default="console",
        description="Format of log lines: `console` for people, `json` for one object per line.",
    )
    traces: str = Field(
        default="",
        description="URL that OpenTelemetry spans are sent to, by OTLP over HTTP; empty for none.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment by the product's own rules, and nothing else."""
        return init_settings, Environment(settings_cls)

    @field_validator("api_keys")
    @classmethod
    def _check_hashes(cls, text: str) -> str:
        split_hashes(text)
        return text

    @field_validator("allowed_hosts")
    @classmethod
    def _check_host_names(cls, text: str) -> str:
        check_host_names(text)
        return text

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, text: str) -> str:
        check_origins(text)
        return text

    @field_validator("studio_url")
    @classmethod
    def _check_studio_url(cls, text: str) -> str:
        check_page_address(text)
        return text

    @field_validator("trusted_keys")
    @classmethod
    def _check_public_keys(cls, text: str) -> str:
        check_public_keys(text)
        return text


def warn_of_variables() -> None:
    """Log the variables that are ignored: injected by a platform, or read by nothing."""
    names = [name for setting in Settings.model_fields for name in variables_of(setting)]
    warn_of_injected(names)
    warn_of_unknown({*names, *_VARIABLES_OF_OTHERS})

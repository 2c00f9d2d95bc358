"""Settings of the service, read once from the environment when it starts."""

import os
import re
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from models.bundle.store import checkout_store
from models.environment import PREFIX, read_variable, warn_of_injected, warn_of_unknown
from models.errors import KeyUnusable
from models.imaging.limits import DECODE_S, MAX_FILE_BYTES, MAX_PIXELS, MAX_PIXELS_CEILING
from models.text import clean

# A name in the Host header, without port.
_HOST_NAME: Final = re.compile(
    r"(\*\.)?[\w-]+(\.[\w-]+)*|\[[0-9a-f:.]+\]", re.ASCII | re.IGNORECASE
)
# An Origin header, as browsers write it (RFC 6454, 6.2).
_ORIGIN: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])"
    r"(:(?P<port>[1-9][0-9]*))?"
)
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
_SECRETS: Final = {"api_keys", "trusted_keys"}
# Variables of the training job and the client, which may share an env file with the service.
_VARIABLES_OF_OTHERS: Final = {"FACEMASK_CACHE", "FACEMASK_KEY"}
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def split_names(text: str) -> list[str]:
    """Split a comma-separated list.

    Raises:
        ValueError: An element is empty.
    """
    names = [part.strip() for part in text.split(",")] if text else []
    if not all(names):
        raise ValueError("one of the comma-separated names is empty.")
    return names


def split_hashes(text: str) -> list[str]:
    """Split a comma-separated list of SHA-256 hashes, and lower their case.

    Raises:
        ValueError: An element is not a SHA-256 hash.
    """
    hashes = [part.strip().lower() for part in text.split(",")] if text else []
    for found in hashes:
        if not _SHA256.fullmatch(found):
            # The value is not repeated: it may be the key itself.
            raise ValueError(
                "one of the comma-separated values is not a SHA-256 hash: `python -m service.keys` "
                "makes a key and its hash."
            )
    return hashes


class _Environment(PydanticBaseSettingsSource):
    """The environment, by the rules of `models.environment`; names are case-insensitive."""

    def __init__(self, settings: type[BaseSettings]) -> None:
        super().__init__(settings)
        self._variables = {name.upper(): value for name, value in os.environ.items()} | os.environ

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        values = (read_variable(name, self._variables) for name in variables_of(field_name))
        return next((value for value in values if value is not None), None), field_name, False

    def __call__(self) -> dict[str, Any]:
        values = {
            name: self.get_field_value(field, name)[0]
            for name, field in self.settings_cls.model_fields.items()
        }
        return {name: value for name, value in values.items() if value is not None}


def variables_of(setting: str) -> tuple[str, ...]:
    """Return the environment variables of a setting; the first one that is set counts."""
    variable = f"{PREFIX}{setting.upper()}"
    return (variable, "PORT") if setting == "port" else (variable,)


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
        description="Address of the studio, such as `http://127.0.0.1:8100`, that the web page "
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
        return init_settings, _Environment(settings_cls)

    @field_validator("api_keys")
    @classmethod
    def _check_hashes(cls, text: str) -> str:
        split_hashes(text)
        return text

    @field_validator("allowed_hosts")
    @classmethod
    def _check_host_names(cls, text: str) -> str:
        for name in split_names(text):
            if not _HOST_NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} is not a host name: write one such as example.org, *.example.org or "
                    "[::1], without scheme, port and path; leave it empty for any."
                )
        return text

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, text: str) -> str:
        for origin in split_names(text):
            found = _ORIGIN.fullmatch(origin)
            if origin not in ("*", "null") and (
                found is None or _DEFAULT_PORTS.get(found["scheme"], "") == found["port"]
            ):
                raise ValueError(
                    f"{origin!r} is not an origin as browsers send it: write one such as "
                    "https://example.org or http://localhost:3000, in lower case, without path, "
                    "slash at the end, wildcard and default port; * alone is any."
                )
        return text

    @field_validator("studio_url")
    @classmethod
    def _check_studio_url(cls, text: str) -> str:
        parts = urlsplit(text)
        if text and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError(
                f"{text!r} is not the address of a web page: write one such as "
                "http://127.0.0.1:8100; leave it empty for none."
            )
        return text

    @field_validator("trusted_keys")
    @classmethod
    def _check_public_keys(cls, text: str) -> str:
        if text:
            from models.bundle.signing import load_public_keys  # cryptography takes time to import

            try:
                load_public_keys(text)
            except KeyUnusable as error:
                raise ValueError(str(error)) from error
        return text


def faults_of(error: ValidationError) -> list[str]:
    """Return a sentence for each invalid setting, without the values of secrets."""
    sentences = []
    for fault in error.errors():
        setting = str(fault["loc"][0])
        names = variables_of(setting)
        name = next((name for name in names if read_variable(name) is not None), names[0])
        value = "" if setting in _SECRETS else f"={fault['input']!r}"
        sentences.append(clean(f"{name}{value}: {fault['msg'].removeprefix('Value error, ')}"))
    return sentences


def warn_of_variables() -> None:
    """Log the variables that are ignored: injected by a platform, or read by nothing."""
    names = [name for setting in Settings.model_fields for name in variables_of(setting)]
    warn_of_injected(names)
    warn_of_unknown({*names, *_VARIABLES_OF_OTHERS})

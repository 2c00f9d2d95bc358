"""Settings of the studio, read once from the environment when it starts."""

import ipaddress
import re
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from models.bundle.store import checkout_store
from models.environment import (
    PREFIX,
    STUDIO_PREFIX,
    read_variable,
    unknown_variables,
    warn_of_injected,
)
from models.imaging.limits import DECODE_S, MAX_FILE_BYTES, MAX_PIXELS, MAX_PIXELS_CEILING
from models.text import clean
from studio.keys import parse_keys

DATABASE_FILE: Final = "studio.db"
"""File of the default database, in the data folder."""

# Settings that the studio shares with the service and the training job.
_SHARED_VARIABLES: Final = {"store": f"{PREFIX}STORE"}
_SECRETS: Final = {"keys", "database"}
# A name in the Host header, without port.
_HOST_NAME: Final = re.compile(r"[\w-]+(\.[\w-]+)*|\[[0-9a-f:.]+\]", re.ASCII | re.IGNORECASE)


class Settings(BaseModel):
    """Settings from FACEMASK_STUDIO_* variables; each description is its row in the docs."""

    # Errors are printed, and an input may be a secret.
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    data: Path = Field(
        default=Path("studio-data"),
        description="Folder of the pictures, the thumbnails, the jobs and the default database.",
    )
    store: Path = Field(
        default_factory=checkout_store,
        description="Folder of model bundles that training publishes to and the service reads.",
    )
    database: str = Field(
        default="",
        description="URL of the database, such as `postgresql://user:password@host/name`; empty "
        f"for SQLite in the file `{DATABASE_FILE}` of the data folder.",
    )
    host: str = Field(
        default="127.0.0.1",
        description="Address to listen on. Any but the machine's own (loopback) needs keys.",
    )
    port: int = Field(default=8001, ge=0, le=65535, description="Port to listen on.")
    service_url: str = Field(
        default="http://127.0.0.1:8000",
        description="Address of the service, which answers for the model that is live.",
    )
    service_key: str = Field(
        default="", description="API key that the studio sends to the service, if that needs one."
    )
    keys: str = Field(
        default="",
        description="Keys, comma-separated, each `NAME:ROLE:HASH` (`python -m studio key` makes "
        "one). A role is `look`, `label` or `promote`, and includes those before it. If set, every "
        "request needs a key.",
    )
    keys_file: Path | None = Field(
        default=None, description="File of further keys, one `NAME:ROLE:HASH` per line."
    )
    start_key: bool = Field(
        default=False,
        description="Make a key of role `promote` at each start, and print the address that signs "
        "in with it. For containers, which listen on all addresses.",
    )
    allowed_hosts: str = Field(
        default="",
        description="Host names that the studio answers to, comma-separated, beside the machine's "
        "own; without keys it answers to no other.",
    )
    max_body_bytes: int = Field(
        default=64 * 2**20, ge=1, description="Max bytes per request body; beyond, 413."
    )
    max_files: int = Field(default=64, ge=1, le=10_000, description="Max pictures per request.")
    max_file_bytes: int = Field(
        default=MAX_FILE_BYTES,
        ge=1,
        description="Max bytes per encoded picture file; beyond, it is refused.",
    )
    max_pixels: int = Field(
        default=MAX_PIXELS,
        ge=1,
        le=MAX_PIXELS_CEILING,
        description="Max pixels per picture, width x height, checked before decoding.",
    )
    decode_s: float = Field(
        default=DECODE_S, gt=0, le=3600, description="Max CPU seconds to decode one picture."
    )
    max_archive_bytes: int = Field(
        default=8 * 2**30, ge=1, description="Max bytes of an uploaded zip file, and unpacked."
    )
    max_archive_files: int = Field(
        default=100_000, ge=1, description="Max files of an uploaded zip file."
    )
    max_connections: int = Field(
        default=512, ge=1, description="Max requests in progress; beyond, 503."
    )
    candidate_idle_s: float = Field(
        default=120.0,
        gt=0,
        description="Seconds after which the service process of a model that is only tried out "
        "is stopped.",
    )

    @classmethod
    def from_environment(cls, **changes: object) -> Self:
        """Read the settings from the environment.

        Args:
            changes: Values that replace those of the environment, if not None.

        Raises:
            ValidationError: A value is invalid.
        """
        found: dict[str, object] = {
            name: value
            for name in cls.model_fields
            if (value := read_variable(variable_of(name))) is not None
        }
        found |= {name: value for name, value in changes.items() if value is not None}
        return cls.model_validate(found)

    @field_validator("keys")
    @classmethod
    def _check_keys(cls, text: str) -> str:
        parse_keys(text.replace(",", "\n"))
        return text

    @field_validator("allowed_hosts")
    @classmethod
    def _check_host_names(cls, text: str) -> str:
        for name in text.split(",") if text else []:
            if not _HOST_NAME.fullmatch(name.strip()):
                raise ValueError(
                    f"{name.strip()!r} is not a host name: write one such as studio.example.org or "
                    "[::1], without scheme, port and path."
                )
        return text

    @field_validator("service_url")
    @classmethod
    def _check_url(cls, text: str) -> str:
        try:
            has_host = urlsplit(text).port != 0 and bool(urlsplit(text).hostname)
        except ValueError:  # a bracket or a port that is none
            has_host = False
        if not has_host or not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", text):
            raise ValueError(f"{text!r} is not an address such as http://127.0.0.1:8000.")
        return text.rstrip("/")

    @property
    def database_url(self) -> str:
        """The database's URL, that of the default file included."""
        return self.database or f"sqlite:///{(self.data / DATABASE_FILE).absolute()}"

    @property
    def is_local(self) -> bool:
        """True if the studio listens on the machine's own addresses only."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False


def variable_of(setting: str) -> str:
    """Return the environment variable of a setting."""
    return _SHARED_VARIABLES.get(setting, f"{STUDIO_PREFIX}{setting.upper()}")


def faults_of(error: ValidationError) -> list[str]:
    """Return a sentence for each invalid setting, without the values of secrets."""
    sentences = []
    for fault in error.errors(include_url=False):
        setting = str(fault["loc"][0])
        name = variable_of(setting)
        value = "" if setting in _SECRETS else f"={fault['input']!r}"
        sentences.append(clean(f"{name}{value}: {fault['msg'].removeprefix('Value error, ')}"))
    return sentences


def warn_of_variables() -> list[str]:
    """Log the variables that a platform injected; return a sentence for each unknown one."""
    names = [variable_of(name) for name in Settings.model_fields]
    warn_of_injected(names)
    known = {*names, f"{STUDIO_PREFIX}URL"}  # read by the service
    return [
        f"{clean(name)} is set, and nothing reads it{f': is {likely} meant?' if likely else ''}"
        for name, likely in unknown_variables(known, prefix=STUDIO_PREFIX).items()
    ]

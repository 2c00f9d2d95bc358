"""Options of `python -m service`, and its help with all settings."""

import argparse
import os
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic.fields import FieldInfo

from models import __version__
from service.settings import Settings, variables_of

_OPTIONS: Final = {
    "store": ("DIR", "folder of model bundles"),
    "host": ("ADDRESS", "address to listen on"),
    "port": ("PORT", "port to listen on, 0 for any free one"),
}
_STATUSES: Final = (
    "Exit status: 0 after a stop, or if --check finds no fault; 1 if --check finds no model that "
    "can be served; 2 for a wrong command line or setting; 3 if the address cannot be used; "
    "6 if the system fails."
)


def parse_options(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; end the program after --help, --version and for a wrong one."""
    return _parser().parse_args(argv)


def apply_options(options: argparse.Namespace) -> None:
    """Set the environment variables of the options given, for this process and its workers."""
    for name in _OPTIONS:
        if (value := getattr(options, name)) is not None:
            os.environ[variables_of(name)[0]] = str(value)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m service",
        description="Serve the model that training published last over HTTP, with a web page. "
        "Settings are read from the environment; an option precedes its variable.",
        epilog=_settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for name, (metavar, text) in _OPTIONS.items():
        default = _default(Settings.model_fields[name])
        parser.add_argument(
            f"--{name}",
            type=_port if name == "port" else _text,
            metavar=metavar,
            help=f"{text} ({variables_of(name)[0]}, or {default})",
        )
    parser.add_argument(
        "--check",
        action="store_true",
        help="check settings, store and model, print a verdict, and end",
    )
    parser.add_argument("--version", action="version", version=f"facemask {__version__}")
    return parser


def _settings_help() -> str:
    """Return the settings, each with its default and meaning, as wide as the terminal."""
    width = min(100, shutil.get_terminal_size().columns)
    lines = ["settings, with their defaults:"]
    for name, field in Settings.model_fields.items():
        default = _default(field)
        lines.append(f"  {' or '.join(variables_of(name))}{f' = {default}' if default else ''}")
        indent = " " * 6
        lines += textwrap.wrap(
            field.description or "", width, initial_indent=indent, subsequent_indent=indent
        )
    return "\n".join([*lines, "", *textwrap.wrap(_STATUSES, width)])


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True, validated_data={})
    return "" if default is None else str(default)


def _text(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty")
    return text


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535")
    return int(text)


def check_lines(settings: Settings) -> tuple[list[str], bool]:
    """Check that the store's model can be served.

    Returns:
        A line per part, and True if all are sound.
    """
    # PyTorch takes a second to import, and wrong settings are reported before.
    from models.bundle.load import open_bundle
    from models.bundle.signing import load_public_keys
    from models.bundle.store import current_version
    from models.errors import FacemaskError

    lines = ["settings: sound"]
    store: Path = settings.store
    try:
        version = current_version(store)
    except FacemaskError as error:
        return [*lines, f"store: {error}"], False
    lines.append(f"store: {store} names version {version}")
    try:
        trusted = load_public_keys(settings.trusted_keys)
        manifest = open_bundle(store / version, trusted=trusted, device=settings.device).manifest
    except FacemaskError as error:
        return [*lines, f"model: {error}"], False
    signed = "its signature, " if trusted else ""
    lines.append(
        f"model: sound ({signed}{len(manifest.files)} checksums and "
        f"{len(manifest.golden.pictures)} golden pictures verified), answers "
        f"{', '.join(manifest.labels)}"
    )
    return lines, True

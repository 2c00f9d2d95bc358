"""`python -m studio key`: make a key, and its entry for the settings."""

import argparse
import json
from typing import Any

from models.terminal import write_line
from studio.keys import Role, entry_of, new_key, parse_keys
from studio.problems import BadRequest


def add_commands(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("key", help="make a key for a person or a program")
    parser.add_argument("name", help="name for the history of decisions and promotions")
    parser.add_argument("role", choices=[str(role) for role in Role], help="what it may do")
    parser.add_argument("--json", action="store_true", help="write the result as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print a new key and its entry."""
    text, key = new_key(arguments.name.strip(), Role[arguments.role.upper()])
    try:
        parse_keys(entry_of(key))
    except ValueError as error:
        raise BadRequest(
            f"{arguments.name!r} cannot name a key: write 1 to 80 characters without ':' and ','."
        ) from error
    if arguments.json:
        document = {"name": key.name, "role": str(key.role), "key": text, "entry": entry_of(key)}
        write_line(json.dumps(document, ensure_ascii=False))
        return 0
    write_line(f"key, for {key.name}: {text}")
    write_line(f"entry, for FACEMASK_STUDIO_KEYS or its file: {entry_of(key)}")
    return 0

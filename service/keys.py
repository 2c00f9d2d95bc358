"""API keys: `python -m service.keys` prints a new one, and its hash for the service's settings."""

import hashlib
import secrets
import sys

from models.terminal import run_command, write_line


def hash_of(key: str) -> str:
    """Return the SHA-256 hash of a key; keys are long and random, so no salt is needed."""
    return hashlib.sha256(key.encode()).hexdigest()


def main() -> int:
    """Print a new key and its hash."""
    key = secrets.token_urlsafe(32)
    write_line(f"key, for the caller: {key}")
    write_line(f"hash, for FACEMASK_API_KEYS: {hash_of(key)}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))

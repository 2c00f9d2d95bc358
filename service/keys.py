"""`python -m service.keys`: print a new API key, and its hash for the service's settings."""

import secrets
import sys

from service.http.api_keys import hash_of


def main() -> int:
    """Print a new key and its SHA-256 hash."""
    key = secrets.token_urlsafe(32)
    print(f"key, for the caller: {key}")
    print(f"hash, for FACEMASK_API_KEYS: {hash_of(key)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

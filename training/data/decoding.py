"""Cache of decoding failures, so that a file that cannot be decoded is tried once."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import PIL

from models.errors import PictureError
from models.imaging.decode import DECODER
from models.imaging.limits import DECODE_S
from training.data.cache import Cache

_FAILURE_PREFIX: Final = f"failure:{DECODER}:{PIL.__version__}:{DECODE_S:g}:"


@contextmanager
def remembered_failure(cache: Cache, sha256: str) -> Iterator[None]:
    """Run the decoding of a file, unless the same bytes could not be decoded before.

    Args:
        cache: Keeps the error.
        sha256: Digest of the file, in hexadecimal.

    Raises:
        PictureError: As raised inside, now or before.
    """
    key = _FAILURE_PREFIX + sha256
    if (reason := _reason(cache.get(key))) is not None:
        raise PictureError(reason)
    try:
        yield
    except PictureError as error:
        cache.put([(key, json.dumps(str(error)).encode())])
        raise


def _reason(cached: bytes | None) -> str | None:
    try:
        reason = json.loads(cached or b"null")
    except ValueError:
        return None
    return reason if isinstance(reason, str) else None

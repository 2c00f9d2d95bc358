"""Answers from files, whole or in part."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send

_RANGE: Final = re.compile(rb"bytes=(\d+-\d*|-\d+)", re.IGNORECASE)


class RangedFileResponse(FileResponse):
    """Answer from a file; a download that was cut goes on where it was (Range, If-Range).

    Several ranges, and a Range that is none, are ignored, as RFC 9110 has it.
    """

    def __init__(
        self,
        path: Path,
        media_type: str,
        *,
        tag: str,
        headers: Mapping[str, str],
        is_temporary: bool = False,
    ) -> None:
        """Create the answer.

        Args:
            path: The file.
            media_type: Its type.
            tag: Text that changes with the content, for `ETag`.
            headers: Further headers.
            is_temporary: Remove the file afterwards, also if the client has gone.
        """
        super().__init__(path, media_type=media_type, headers={**headers, "ETag": f'"{tag}"'})
        self._temporary = path if is_temporary else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, or the part of it that is asked for."""
        kept = [
            (name, value)
            for name, value in scope["headers"]
            if name != b"range" or _RANGE.fullmatch(value)
        ]
        try:
            await super().__call__({**scope, "headers": kept}, receive, send)
        finally:
            if self._temporary is not None:
                self._temporary.unlink(missing_ok=True)

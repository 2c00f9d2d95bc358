"""Texts of others, such as file names and sentences of a server, made safe for any output."""

import re
from typing import Final

# C0 and C1 controls with ESC and DEL, line and paragraph separators, characters that reorder what
# a reader sees (CVE-2021-42574), U+FEFF, interlinear annotation, and lone surrogates: bytes of a
# file name that are not UTF-8, which no encoder takes.
_INVISIBLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029"
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb"
    "\ud800-\udfff]"
)


def clean(text: object) -> str:
    """Return a text on one line that can be printed, encoded and sent; U+FFFD marks the rest."""
    return _INVISIBLE.sub("\N{REPLACEMENT CHARACTER}", str(text))


def reason_of(error: BaseException) -> str:
    """Return the operating system's words for an error, or else the error's own."""
    return clean(getattr(error, "strerror", None) or str(error) or type(error).__name__)

"""Text to show: untrusted names and messages normalised and made safe, shares as per cent."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"

# C0 and C1 controls with ESC and DEL, line and paragraph separators, Unicode's Bidi_Control
# characters, which reorder what a reader sees (CVE-2021-42574), U+FEFF, interlinear annotation,
# and lone surrogates, which stand for bytes that are not UTF-8 and which no encoder takes.
_INVISIBLE: Final = (
    "\x00-\x1f\x7f-\x9f\u2028\u2029"
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb"
    "\ud800-\udfff"
)
_NOT_ON_A_LINE: Final = re.compile(f"[{_INVISIBLE}]")
_NOT_IN_LINES: Final = re.compile(f"(?![\t\n])[{_INVISIBLE}]")


def clean(text: str, *, lines: bool = False) -> str:
    """Return a text that is safe to show, log, print and encode anywhere.

    Use it wherever text from a user or a file is shown: terminals, logs, JSON, CSV, HTML. An
    invisible character becomes U+FFFD, so that a name with one looks different from a name without.

    Args:
        text: Any string, such as a file name with bytes that are not UTF-8.
        lines: Keep tabs and line feeds, for a text of several lines.
    """
    return (_NOT_IN_LINES if lines else _NOT_ON_A_LINE).sub(REPLACEMENT, text)


def normalize_name(name: str) -> str:
    """Return a name in NFC, stripped, with a single space instead of several.

    macOS writes `ä` as two characters (NFD), most other systems as one; they look the same.
    """
    return " ".join(unicodedata.normalize("NFC", name).split())


def normalize_path(path: str, *, backslashes: bool = False) -> str:
    """Return a relative path in NFC, its parts joined by single slashes.

    `./a//b`, `/a/b` and `a/b/` all become `a/b`.

    Args:
        path: Path of a file or folder.
        backslashes: Read backslashes as slashes, as programs on Windows write them.

    Raises:
        ValueError: A part is `..`, which could lead out of the folder or archive.
    """
    if backslashes:
        path = path.replace("\\", "/")
    parts = [
        part for part in unicodedata.normalize("NFC", path).split("/") if part not in ("", ".")
    ]
    if ".." in parts:
        raise ValueError(f"{clean(path)} leads out of its folder")
    return "/".join(parts)


def percent(share: float | None) -> str:
    """Format a share; "100%" only if it is 1, "0%" only if it is 0, "–" if it is unknown."""
    if share is None:
        return "–"
    text = f"{share:.1%}"
    if text == "100.0%":
        return "100%" if share >= 1.0 else ">99.9%"
    if text == "0.0%":
        return "0%" if share <= 0.0 else "<0.1%"
    return text


def span(interval: Sequence[float] | None) -> str:
    """Format the two ends of an interval of shares."""
    if not interval:
        return ""
    return " to ".join(f"{end:.1%}".replace("100.0%", "100%") for end in interval)

"""Numbers and names as text, and text as HTML and Markdown can show it."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from markupsafe import Markup

_MAX_DETAIL_CHARS: Final = 400  # of one detail of a finding

# Control characters but tab and line feed, and lone surrogates, which no encoding can hold.
_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def score(value: float | None, interval: Sequence[float] | None = None) -> str:
    """Format a score between 0 and 1 that is not a share, such as ROC AUC, with its interval."""
    if value is None:
        return "–"
    ends = f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    return f"{value:.3f}{ends}"


def hundred(share: float) -> str:
    """Format a share as a number of a hundred, in words."""
    count = round(share * 100)
    if count == 100 and share < 1.0:
        return "more than 99"
    if count == 0 and share > 0.0:
        return "fewer than 1"
    return f"about {count}" if 0 < count < 100 else ("all" if count else "none")


def number(count: float) -> str:
    """Format a count with a separator of thousands."""
    return f"{count:,.0f}"


def plural(count: float, one: str, many: str = "") -> str:
    """Format a count and its noun."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def listed(names: Sequence[str], max_names: int = 6) -> str:
    """Join names in a sentence; of more than `max_names` the rest are counted."""
    shown = [f"“{name}”" for name in names[:max_names]]
    if len(names) > max_names:
        shown.append(f"{len(names) - max_names} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def json_rows(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as JSON, of which any text is plain ASCII."""
    return json.dumps([list(row) for row in rows])


def flatten(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield nested settings as (dotted name, value) rows."""
    for key, value in mapping.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flatten(value, f"{name}.")
        elif isinstance(value, list | tuple):
            yield name, ", ".join(_scalar(item) for item in value)
        else:
            yield name, _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def details(mapping: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return a finding's details as rows, long values cut."""
    return [
        (key, text if len(text) <= _MAX_DETAIL_CHARS else f"{text[:_MAX_DETAIL_CHARS]}…")
        for key, text in flatten(mapping)
    ]


def printable(text: str) -> str:
    """Replace lone surrogates, which no encoding has, and control characters."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def html_text(value: Any) -> Any:
    """Make an expression's text printable; markup stays as it is."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value)
    return value


def breakable(name: str) -> Markup:
    """Let a line break behind each folder of a file name."""
    return Markup("/<wbr>").join(printable(name).split("/"))  # the parts are escaped


def markdown_text(value: Any) -> Any:
    """Escape an expression's text for Markdown, on one line; markup stays as it is."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    text = re.sub(r"[\n\t\u2028\u2029]+", " ", printable(value))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*\[\]|~$])", r"\\\1", text)
    # An underscore inside a word is not emphasis: no_mask stays readable.
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\_", text)


def fenced(value: str) -> Markup:
    """Return a Markdown code block, with a fence longer than any run of backticks in it."""
    text = printable(value).strip("\n")
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markup(f"{fence}\n{text}\n{fence}")  # noqa: S704  Markdown, which knows no autoescape

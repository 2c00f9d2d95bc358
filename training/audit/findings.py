"""Findings of an audit, and how they are printed and written."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from training.errors import OutputError

LEVELS: Final = ("error", "warning", "info")
"""From the most to the least severe; the names that programs read."""

LEVEL_WORDS: Final = {"error": "serious", "warning": "warning", "info": "note"}
"""The levels for people: no finding of an audit is an error that ends a run."""

_MAX_CASES: Final = 10  # per finding in a terminal; the others are counted


@dataclass(frozen=True)
class Finding:
    """One fact about a data set that its owner should know.

    Attributes:
        level: One of `LEVELS`.
        kind: Stable name of the finding, for programs.
        message: For people: how many pictures, what about them, and what to do.
        names: The pictures concerned.
        groups: The same pictures by case, where several belong to one.
        details: Further figures, fit for JSON.
    """

    level: str
    kind: str
    message: str
    names: tuple[str, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    details: dict[str, Any] = field(default_factory=dict)


def worst_level(findings: Iterable[Finding]) -> str | None:
    """Return the most severe level among findings; None if there are none."""
    present = {finding.level for finding in findings}
    return next((level for level in LEVELS if level in present), None)


def plural(number: int, noun: str = "picture") -> str:
    """Return a number and its noun: "1 picture", "2,000 pictures"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def write_json(findings: Sequence[Finding], path: Path, facts: Mapping[str, Any]) -> None:
    """Write facts on what was looked at, the number of findings per level, and the findings.

    Raises:
        OutputError: The file cannot be written.
    """
    levels = {level: sum(finding.level == level for finding in findings) for level in LEVELS}
    content = {**facts, "levels": levels, "findings": list(map(asdict, findings))}
    try:
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror}).") from error


def format_lines(findings: Sequence[Finding]) -> list[str]:
    """Format findings as lines of text, by level, each with its first cases."""
    if not findings:
        return ["No findings."]
    levels = Counter(finding.level for finding in findings)
    lines = []
    for level in LEVELS:
        if not levels[level]:
            continue
        lines.append(f"{_heading(level, levels[level])}:")
        for finding in findings:
            if finding.level == level:
                lines.append(f"  {finding.kind}: {finding.message}")
                lines += [f"    {case}" for case in case_lines(finding, max_cases=_MAX_CASES)]
    return lines


def case_lines(finding: Finding, *, max_cases: int) -> list[str]:
    """Return one line per case of a finding, up to a number, and the number of the others."""
    cases = _format_cases(finding)
    rest = len(cases) - max_cases
    return cases[:max_cases] + ([f"and {rest:,} more"] if rest > 0 else [])


def _heading(level: str, number: int) -> str:
    if level == "error":
        return f"{number:,} serious"
    return plural(number, LEVEL_WORDS[level])


def _format_cases(finding: Finding) -> list[str]:
    """Return one line per case: a group, a label issue, a file with its reason, or a name."""
    if finding.groups:
        return [" = ".join(group) for group in finding.groups]
    if finding.kind == "suspect_labels":
        return [
            f"{case['name']}: {case['suggested']}? ({case['suggested_probability']:.0%})"
            for case in finding.details["suspects"]
        ]
    reasons: dict[str, str] = finding.details.get("why", {})
    return [f"{name}: {reasons[name]}" if name in reasons else name for name in finding.names]

"""What an audit finds, and how it is told: one finding at a time, the worst first."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from training.errors import OutputError

LEVELS: Final = ("error", "warning", "info")
"""From the worst to the least."""


@dataclass(frozen=True)
class Finding:
    """One thing that a person should know of the data set.

    Attributes:
        level: One of `LEVELS`.
        kind: Stable name of what was found, for programs.
        message: For people: how many, what, and what to do.
        names: The pictures concerned.
        groups: The same pictures, where they belong together: each group is one case.
        details: Further figures, fit for JSON.
    """

    level: str
    kind: str
    message: str
    names: tuple[str, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For summary.json."""
        return {
            "level": self.level,
            "kind": self.kind,
            "message": self.message,
            "names": list(self.names),
            "groups": [list(group) for group in self.groups],
            "details": self.details,
        }


def worst(findings: Iterable[Finding]) -> str | None:
    """The worst level among findings; None if there are none."""
    present = {finding.level for finding in findings}
    return next((level for level in LEVELS if level in present), None)


def many(number: int, thing: str = "picture") -> str:
    """A number and its noun: "1 picture", "2,000 pictures"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def write_json(findings: Sequence[Finding], path: Path) -> None:
    """Write findings to a file: how many of each level, and all of them, the worst first.

    Raises:
        OutputError: The file cannot be written.
    """
    levels = {level: sum(finding.level == level for finding in findings) for level in LEVELS}
    content = {"levels": levels, "findings": [finding.as_dict() for finding in findings]}
    try:
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror}).") from error


def lines(findings: Sequence[Finding], *, shown: int = 10) -> list[str]:
    """Findings as lines of text, by level, each with its first names or groups.

    Args:
        findings: As `audit` returns them.
        shown: Names or groups a finding.
    """
    if not findings:
        return ["Nothing to remark."]
    levels = Counter(finding.level for finding in findings)
    text = []
    for level in LEVELS:
        if not levels[level]:
            continue
        text.append(f"{many(levels[level], level) if level != 'info' else level}:")
        for finding in findings:
            if finding.level == level:
                text.append(f"  {finding.kind}: {finding.message}")
                cases = _cases(finding)
                text += [f"    {case}" for case in cases[:shown]]
                if len(cases) > shown:
                    text.append(f"    and {len(cases) - shown:,} more")
    return text


def _cases(finding: Finding) -> list[str]:
    """One line a case: a group, a suspect with its classes, a file with the reason, a name."""
    if finding.groups:
        return [" = ".join(group) for group in finding.groups]
    if finding.kind == "suspect_labels":
        return [
            f"{case['name']}: {case['suggested']}? ({case['suggested_probability']:.0%})"
            for case in finding.details["suspects"]
        ]
    why: dict[str, str] = finding.details.get("why", {})
    return [f"{name}: {why[name]}" if name in why else name for name in finding.names]

"""A process that matches names with a pattern, and is killed after a time limit.

A regular expression can take exponential time, and Python's engine then blocks all threads of its
process. This file imports nothing of the studio, so that it starts in a few hundredths of a
second.
"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final

MATCHING_S: Final = 5.0
"""Max seconds that a pattern may take."""


def match_names(pattern: str, names: Sequence[str]) -> list[str | None]:
    """Return, for each name, the first bracket of a pattern, or all that it matches.

    Raises:
        ValueError: The pattern is not a regular expression.
        TimeoutError: It takes longer than `MATCHING_S`.
    """
    try:
        done = subprocess.run(  # noqa: S603 - this file
            [sys.executable, "-I", __file__],
            input=json.dumps({"pattern": pattern, "names": names}).encode(),
            capture_output=True,
            timeout=MATCHING_S,
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError from error
    answer: dict[str, Any] = json.loads(done.stdout)
    if "fault" in answer:
        raise ValueError(answer["fault"])
    found: list[str | None] = answer["found"]
    return found


def _match(pattern: str, names: Sequence[str]) -> dict[str, Any]:
    try:
        expression = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return {"fault": str(error)}
    matches = map(expression.search, names)
    group = 1 if expression.groups else 0
    return {"found": [match[group] if match else None for match in matches]}


if __name__ == "__main__":
    json.dump(_match(**json.load(sys.stdin)), sys.stdout)

"""docs/guarantees.md: no promise without a test."""

import re

from tests import ROOT


def test_each_guarantee_names_existing_tests() -> None:
    tests = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)
    }
    rows = [
        line.strip("|").split("|")
        for line in (ROOT / "docs" / "guarantees.md").read_text().splitlines()
        if line.startswith("| ") and "**" not in line
    ][1:]
    assert len(rows) > 20
    for promise, shown in rows:
        named = re.findall(r"`(\w+)`", shown)
        assert named, promise
        assert set(named) <= tests, set(named) - tests

"""Findings as lines of text."""

import pytest

from tests.training.audit.data_sets import make_feature_set, make_stats
from training.audit.findings import format_lines
from training.audit.run import audit


@pytest.mark.usefixtures("no_shortcuts")
def test_format_lines_cuts_long_lists() -> None:
    stats = [make_stats(n, **({"mode": "L"} if n < 13 else {})) for n in range(120)]
    found = audit(make_feature_set(stats, [n % 2 for n in range(120)]))
    text = format_lines(found)
    assert text[0] == "1 note:"
    assert text[-1] == "    and 3 more"
    assert len(text) == 13
    assert found[0].details == {"modes": {"L": 13}}

"""Fixtures of the audit's tests."""

import pytest

import training.audit.shortcut_findings


@pytest.fixture
def no_shortcuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Find no shortcuts, so that faults of other kinds stand alone."""
    monkeypatch.setattr(training.audit.shortcut_findings, "find_shortcuts", lambda *_, **__: [])

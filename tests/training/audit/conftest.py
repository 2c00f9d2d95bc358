"""Fixtures of the audit's tests."""

import pytest

import training.audit.shortcuts


@pytest.fixture
def no_shortcuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the search for shortcuts, which takes half a second."""
    monkeypatch.setattr(training.audit.shortcuts, "find_shortcuts", lambda *_, **__: [])

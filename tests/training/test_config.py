"""Hyper-parameters are documented, and the cache folder follows the environment."""

from pathlib import Path

import pytest

from training.config import FitConfig, default_cache


def test_every_hyper_parameter_is_documented() -> None:
    text = FitConfig.__doc__ or ""
    for name in FitConfig.__dataclass_fields__:
        assert f"        {name}: " in text, name


def test_default_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEMASK_CACHE", "/a")
    assert default_cache() == Path("/a")
    monkeypatch.delenv("FACEMASK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert default_cache() == Path("/b/facemask")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "/c")
    assert default_cache() == Path("/c/.cache/facemask")

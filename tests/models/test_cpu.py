"""How many cores a process may use: affinity and the container's quota, whichever is less."""

import os
from pathlib import Path

import pytest

from models.cpu import usable_cores


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


@pytest.mark.parametrize(
    ("content", "cores"),
    [
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("100000 100000", 1),
        ("10000 100000", 1),
        ("6400000 100000", 8),
        ("max 100000\n", 8),
        ("0 100000", 8),
        ("100000 0", 8),
        ("-1 100000", 8),
        ("", 8),
        ("garbage", 8),
        ("1 2 3", 8),
    ],
)
def test_version_2_quota(tmp_path: Path, content: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(content)
    assert usable_cores(tmp_path) == cores


@pytest.mark.parametrize(
    ("quota", "period", "cores"),
    [("300000\n", "100000\n", 3), ("-1", "100000", 8), ("many", "100000", 8)],
)
def test_version_1_quota(tmp_path: Path, quota: str, period: str, cores: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text(period)
    assert usable_cores(tmp_path) == cores


def test_bytes_that_are_no_text_are_no_quota(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_bytes(b"\xff\xfe")
    assert usable_cores(tmp_path) == 8


def test_without_control_groups_affinity_counts(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / "absent") == 8


def test_without_affinity_the_machine_s_cores_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert usable_cores(tmp_path) == 3
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores(tmp_path) == 1


def test_this_machine_has_at_least_one() -> None:
    assert usable_cores() >= 1

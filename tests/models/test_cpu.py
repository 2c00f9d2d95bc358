"""Usable cores: affinity or the container's quota, whichever is less."""

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
def test_usable_cores_reads_cgroup_version_2(tmp_path: Path, content: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(content)
    assert usable_cores(tmp_path) == cores


@pytest.mark.parametrize(
    ("quota", "period", "cores"),
    [("300000\n", "100000\n", 3), ("-1", "100000", 8), ("many", "100000", 8)],
)
def test_usable_cores_reads_cgroup_version_1(
    tmp_path: Path, quota: str, period: str, cores: int
) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text(period)
    assert usable_cores(tmp_path) == cores


def test_usable_cores_ignores_an_unreadable_quota(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_bytes(b"\xff\xfe")
    assert usable_cores(tmp_path) == 8


def test_usable_cores_counts_affinity_without_cgroups(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / "absent") == 8


def test_usable_cores_counts_the_machine_without_affinity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert usable_cores(tmp_path) == 3
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores(tmp_path) == 1


def test_usable_cores_is_at_least_one_here() -> None:
    assert usable_cores() >= 1

"""The bound on memory: its formula, what is logged of it, and the container's limit."""

import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from service.limits.memory_bound import MemoryTold, memory_bound
from service.settings import Settings
from tests import ROOT
from tests.service.fixtures import publish_bundle

MIB = 2**20


def test_the_bound_is_the_sum_that_the_documentation_has() -> None:
    settings = Settings()
    bound = memory_bound(
        settings, warm_bytes=270 * MIB, model_bytes=20 * MIB, lanes=2, input_px=224
    )
    assert bound.decoding == 16 * settings.max_pixels + 6 * settings.max_file_bytes + 125 * MIB
    assert bound.faces == 2 * settings.max_faces * 3 * 224**2
    assert bound.bodies == settings.max_bodies_bytes * 9 // 8
    assert bound.connections == settings.max_connections * 384 * 1024
    assert bound.total == sum(
        (290 * MIB, bound.decoding, bound.faces, bound.bodies, bound.connections)
    )
    page = (ROOT / "docs" / "operate.md").read_text()
    assert f"{bound.total // MIB:,} MiB" in page


def test_one_request_alone_counts_even_where_all_may_have_less() -> None:
    settings = Settings(max_bodies_bytes=1)
    bound = memory_bound(settings, warm_bytes=0, model_bytes=0, lanes=1, input_px=1)
    assert bound.bodies == (2 * 64 + 32 * 4) * MIB * 9 // 8


def test_compose_allows_what_the_defaults_need() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    allowed = int(compose["services"]["serve"]["mem_limit"].removesuffix("m")) * MIB
    bound = memory_bound(
        Settings(), warm_bytes=508 * MIB, model_bytes=264 * MIB, lanes=8, input_px=224
    )
    assert bound.total <= allowed  # of the default model in eight lanes


def _told(tmp_path: Path, allowed: str | None) -> MemoryTold:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmHWM:\t  300000 kB\nVmRSS:\t  200000 kB\n")
    if allowed is not None:
        (tmp_path / "memory.max").write_text(allowed)
    return MemoryTold(Settings(), status=status, cgroup=tmp_path)


def test_it_is_told_once_with_a_warning_where_it_does_not_fit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    told = _told(tmp_path, str(512 * MIB))
    for _ in range(2):
        told.model_begins()
        told.model_is_warm(lanes=2, input_px=224)
    line, warning = caplog.messages
    found = re.match(r"memory: at most (\d+) MiB a process \(warm 292, .* swap 97\)", line)
    assert found
    assert int(found[1]) > 1500
    assert "512 MiB" in warning


@pytest.mark.parametrize("allowed", ["max\n", str(64 * 1024 * MIB), None])
def test_where_it_fits_nobody_is_warned(
    allowed: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    told = _told(tmp_path, allowed)
    told.model_begins()
    told.model_is_warm(lanes=2, input_px=224)
    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_without_a_description_of_the_process_nothing_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = MemoryTold(Settings(), status=tmp_path / "absent", cgroup=tmp_path)
    told.model_begins()
    told.model_is_warm(lanes=2, input_px=224)
    assert not caplog.messages


def test_the_worst_that_is_accepted_stays_below_the_bound(tmp_path: Path) -> None:
    """With small limits, against a real process; the benchmark's defaults are the real ones."""
    publish_bundle(tmp_path)
    limits = {
        "FACEMASK_MAX_PIXELS": "4000000",
        "FACEMASK_MAX_FILE_BYTES": "4000000",
        "FACEMASK_MAX_BODY_BYTES": "8000000",
        "FACEMASK_MAX_BODIES_BYTES": "24000000",
        "FACEMASK_MAX_CONNECTIONS": "60",
        "FACEMASK_THREADS": "2",
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", str(tmp_path), "--seconds", "2"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **limits},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "200: " in done.stdout
    ((peak, bound),) = re.findall(r"peak: (\d+) MiB of (\d+) MiB", done.stdout)
    assert 0 < int(peak) <= int(bound)

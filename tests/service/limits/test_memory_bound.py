"""Bounds on memory: decoding budgets, the formula, its log lines, and the container's limit."""

import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from models.errors import PictureError
from models.imaging.memory import SEARCH_BYTES
from service.inference.decision import Prediction
from service.inference.engine import Engine
from service.limits.budget import Budget
from service.limits.memory_bound import (
    DecodingBudgets,
    MemoryReporter,
    decoding_limits_bytes,
    memory_bound,
)
from service.settings import Settings
from tests import ROOT, WAIT_S
from tests.service.fixtures import code_picture, publish_bundle, wait

MIB = 2**20


def test_memory_bound_is_the_sum_in_the_documentation() -> None:
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


def test_memory_bound_counts_one_request_alone_beyond_the_budget() -> None:
    settings = Settings(max_bodies_bytes=1)
    bound = memory_bound(settings, warm_bytes=0, model_bytes=0, lanes=1, input_px=1)
    assert bound.bodies == (2 * 64 + 32 * 1) * MIB * 9 // 8


def test_compose_memory_limit_covers_the_bound_of_the_defaults() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    allowed = int(compose["services"]["serve"]["mem_limit"].removesuffix("m")) * MIB
    bound = memory_bound(
        Settings(), warm_bytes=508 * MIB, model_bytes=264 * MIB, lanes=8, input_px=224
    )
    assert bound.total <= allowed  # of the default model in eight lanes


def _reporter(tmp_path: Path, allowed: str | None) -> MemoryReporter:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmHWM:\t  300000 kB\nVmRSS:\t  200000 kB\n")
    if allowed is not None:
        (tmp_path / "memory.max").write_text(allowed)
    return MemoryReporter(Settings(), status=status, cgroup=tmp_path)


def test_bound_is_logged_once_with_a_warning_if_the_container_is_smaller(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    reporter = _reporter(tmp_path, str(512 * MIB))
    for _ in range(2):
        reporter.model_opening()
        reporter.model_warm(lanes=2, input_px=224)
    line, warning = caplog.messages
    found = re.match(r"memory: at most (\d+) MiB per process \(warm 292, .* swap 97\)", line)
    assert found
    assert int(found[1]) > 1500
    assert "512 MiB" in warning


@pytest.mark.parametrize("allowed", ["max\n", str(64 * 1024 * MIB), None])
def test_no_warning_is_logged_if_the_bound_fits_the_container(
    allowed: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    reporter = _reporter(tmp_path, allowed)
    reporter.model_opening()
    reporter.model_warm(lanes=2, input_px=224)
    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_nothing_is_logged_without_proc(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reporter = MemoryReporter(Settings(), status=tmp_path / "absent", cgroup=tmp_path)
    reporter.model_opening()
    reporter.model_warm(lanes=2, input_px=224)
    assert not caplog.messages


def test_decoding_limit_is_that_of_the_largest_accepted_picture() -> None:
    settings = Settings(store=Path(), max_pixels=50_000_000, max_file_bytes=100)
    assert decoding_limits_bytes(settings) == (6 * 100, 16 * 50_000_000 + SEARCH_BYTES)


def test_lanes_take_turns_at_pictures_beyond_the_decoding_budgets(tmp_path: Path) -> None:
    """All are answered, though each lane waits with its file in memory."""
    bundle = publish_bundle(tmp_path)
    budgets = DecodingBudgets(Budget(1), Budget(1))
    engine = Engine(bundle, threads=3, max_batch=1, budgets=budgets)
    answers = wait(engine.predict([code_picture(code) for code in range(20)]))
    assert all(isinstance(answer, Prediction) for answer in answers)
    torn = wait(engine.predict([code_picture(1)[:60]] * 3 + [b""] * 3))
    assert all(isinstance(answer, PictureError) for answer in torn)
    assert isinstance(wait(engine.predict([code_picture(2)]))[0], Prediction)
    assert (budgets.files.held, budgets.pixels.held) == (0, 0)
    engine.close()


def test_memory_under_the_largest_accepted_requests_stays_below_the_bound(tmp_path: Path) -> None:
    """Small limits, against a real process; `benchmarks.memory` uses the defaults."""
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
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "200: " in done.stdout
    ((peak, bound),) = re.findall(r"peak: (\d+) MiB of (\d+) MiB", done.stdout)
    assert 0 < int(peak) <= int(bound)

"""Short form of `checks.swaps`."""

import threading
import time
from pathlib import Path

import httpx

from checks.swaps import Load, expected_answers, model_of, swap
from models.bundle.store import promote, prune
from tests import WAIT_S
from tests.process.test_serving_process import Service, becomes
from tests.service.fixtures import (
    THREE,
    TWO,
    code_picture,
    publish_bundle,
    shuffled_codes,
)

SWAPS = 6


def threads_become(pid: int, count: int) -> None:
    """Wait until a process has at most `count` threads."""
    end = time.monotonic() + WAIT_S
    while len(list(Path(f"/proc/{pid}/task").iterdir())) > count:
        assert time.monotonic() < end, "threads of replaced models are left"
        threading.Event().wait(0.02)


def test_swaps_under_load_lose_no_request_and_mix_no_answer(tmp_path: Path) -> None:
    pictures = [code_picture(code) for code in shuffled_codes(8)]
    other, first = publish_bundle(tmp_path, THREE), publish_bundle(tmp_path, TWO)
    expected = {
        model_of(bundle.manifest.version): expected_answers(bundle, pictures)
        for bundle in (first, other)
    }
    served: list[str] = []

    def turn(number: int) -> str:
        if number % 2:
            served.append(publish_bundle(tmp_path, THREE).manifest.version)
        else:
            served.append(first.manifest.version)
            promote(tmp_path, served[-1])
        prune(tmp_path, keep=2)
        return served[-1]

    service = Service(tmp_path, FACEMASK_THREADS="2")
    try:
        with httpx.Client(base_url=service.address, timeout=WAIT_S) as client:
            becomes(client, 200)
        load = Load(service.port, pictures, expected, clients=4)
        try:
            load.wait_for_version(first.manifest.version)
            before = len(list(Path(f"/proc/{service.process.pid}/task").iterdir()))
            outcome = swap(load, turn, lambda: 0.0, swaps=SWAPS)
        finally:
            load.stop()
        assert outcome.failures == []
        assert outcome.answered > SWAPS * 4
        assert len(outcome.swap_s) == SWAPS
        threads_become(service.process.pid, before)
    finally:
        status, errors = service.stop()
    assert status == 0
    assert "Traceback" not in errors
    assert errors.count("INFO facemask: serving ") == SWAPS + 1

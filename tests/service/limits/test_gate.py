"""Memory for decoding: what waits, what passes, and that nothing waits for ever."""

import threading
from pathlib import Path

import pytest

from models.errors import PictureError
from models.imaging.limits import SEARCH_BYTES
from service.inference.engine import Answer, Engine
from service.limits.gate import Gate, Gates, decoding_limit_bytes
from service.settings import Settings
from tests.service.fixtures import WAIT_S, code_picture, publish_bundle, wait


class Holder:
    """A thread that holds room until it is let go."""

    def __init__(self, gate: Gate, size: int) -> None:
        self.inside, self._go = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold, args=(gate, size))
        self._thread.start()

    def _hold(self, gate: Gate, size: int) -> None:
        with gate.hold(size):
            self.inside.set()
            assert self._go.wait(WAIT_S)

    def leave(self) -> None:
        assert self.inside.wait(WAIT_S)
        self._go.set()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()


def test_what_fits_passes_together() -> None:
    gate = Gate(10)
    holders = [Holder(gate, 5) for _ in range(2)]
    for holder in holders:
        assert holder.inside.wait(WAIT_S)
    for holder in holders:
        holder.leave()


def test_what_does_not_fit_waits_its_turn_and_is_not_passed_by_smaller_ones() -> None:
    gate = Gate(10)
    first = Holder(gate, 6)
    assert first.inside.wait(WAIT_S)
    large = Holder(gate, 8)
    while not gate._turn.locked():  # it waits at the head of the line
        pass
    small = Holder(gate, 1)
    assert not large.inside.is_set()
    assert not small.inside.is_set()
    first.leave()
    assert large.inside.wait(WAIT_S)
    large.leave()
    small.leave()


def test_the_largest_passes_alone_and_room_is_given_back_after_an_error() -> None:
    gate = Gate(10)
    with pytest.raises(KeyError), gate.hold(1000):
        raise KeyError
    with gate.hold(1000):
        pass


def test_the_largest_picture_that_is_accepted_fits() -> None:
    settings = Settings(store=Path(), max_pixels=50_000_000, max_file_bytes=100)
    assert decoding_limit_bytes(settings) == 16 * 50_000_000 + 6 * 100 + SEARCH_BYTES


def test_lanes_take_turns_at_what_does_not_fit_together(tmp_path: Path) -> None:
    """And all are answered, though each waits with its file in hand."""
    bundle = publish_bundle(tmp_path)
    gates = Gates(Gate(1), Gate(1))
    engine = Engine(bundle, threads=3, max_batch=1, gates=gates)
    answers = wait(engine.predict([code_picture(code) for code in range(20)]))
    assert all(isinstance(answer, Answer) for answer in answers)
    torn = wait(engine.predict([code_picture(1)[:60]] * 3 + [b""] * 3))
    assert all(isinstance(answer, PictureError) for answer in torn)
    assert isinstance(wait(engine.predict([code_picture(2)]))[0], Answer)
    engine.close()

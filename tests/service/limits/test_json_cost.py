"""Bounds on parsing JSON."""

import gc
import threading

import pytest

from service.limits.json_cost import MAX_JSON_VALUES, parsing_turn, require_cheap_json
from service.problems import BadInference, BodyTooLarge
from tests import WAIT_S


def test_require_cheap_json_bounds_values_and_containers() -> None:
    require_cheap_json(b"[" + b"1," * (MAX_JSON_VALUES - 1) + b"1]")
    with pytest.raises(BodyTooLarge, match="262,144 values: send the tensor in binary"):
        require_cheap_json(b"[" + b"1," * MAX_JSON_VALUES + b"1]")
    for costly in (b"[" * 8193, b"[]," * 8193, b"{}," * 8193, b'"a":1,' * 8193):
        with pytest.raises(BadInference, match="8,192 arrays, objects and keys"):
            require_cheap_json(costly)


@pytest.mark.parametrize("enabled", [True, False])
def test_parsing_turn_is_taken_by_one_thread_and_restores_the_collector(enabled: bool) -> None:
    done = threading.Event()

    def second() -> None:
        with parsing_turn():
            done.set()

    if not enabled:
        gc.disable()
    try:
        thread = threading.Thread(target=second)
        with parsing_turn():
            assert not gc.isenabled()
            thread.start()
            assert not done.wait(0.05)
        assert done.wait(WAIT_S)
        thread.join(WAIT_S)
        assert gc.isenabled() == enabled
    finally:
        gc.enable()

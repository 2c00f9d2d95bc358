"""Engine: predictions of one loaded bundle, its lanes, and their end."""

import asyncio
import collections
import gc
import math
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from models.bundle.load import Bundle
from models.errors import (
    EmptyPicture,
    ImageTooLarge,
    PictureError,
    UndecodableImage,
    UnsupportedFormat,
)
from models.imaging.decode import decode_image
from service.inference.batching.errors import BatcherClosed, BatchFailed, DeadlineExceeded
from service.inference.decision import AnswerOptions, Prediction
from service.inference.engine import Engine
from tests import WAIT_S
from tests.service.fixtures import (
    CODES,
    SIZE_PX,
    THREE,
    TWO,
    GatedModel,
    code_of,
    code_picture,
    encoded,
    happens,
    make_engine,
    publish_bundle,
    shuffled_codes,
    wait,
)


@pytest.fixture(scope="module", name="bundle")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return publish_bundle(tmp_path_factory.mktemp("store"))


def pixels_of(code: int) -> Tensor:
    return decode_image(code_picture(code), size=SIZE_PX)


def answered(outcomes: Sequence[Prediction | PictureError]) -> list[Prediction]:
    answers = [outcome for outcome in outcomes if isinstance(outcome, Prediction)]
    assert len(answers) == len(outcomes)
    return answers


class RecordingObserver:
    """Records the figures of each batch."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, float, float, float]] = []

    def record_batch(self, size: int, wait_s: float, decode_s: float, forward_s: float) -> None:
        self.batches.append((size, wait_s, decode_s, forward_s))


@pytest.mark.parametrize("labels", [TWO, THREE])
@pytest.mark.parametrize("threads", [1, 3])
def test_predict_returns_each_picture_its_own_answer(
    labels: tuple[str, ...], threads: int, tmp_path: Path
) -> None:
    codes = shuffled_codes(50)
    observer = RecordingObserver()
    engine = Engine(
        publish_bundle(tmp_path, labels), threads=threads, max_batch=7, observer=observer
    )
    assert engine.labels == labels
    assert engine.manifest.labels == list(labels)
    try:
        encoded = answered(wait(engine.predict([code_picture(code) for code in codes])))
        decoded = answered(wait(engine.predict([pixels_of(code) for code in codes])))
    finally:
        engine.close()
    for answers in (encoded, decoded):
        rows = [answer.scores for answer in answers]
        assert [code_of({"scores": row}) for row in rows] == codes
        assert all(tuple(row) == labels for row in rows)
        assert all(math.isclose(sum(row.values()), 1, abs_tol=1e-6) for row in rows)
        assert {answer.activation for answer in answers} == {None}
    assert sum(size for size, *_ in observer.batches) == 100
    assert all(size <= 7 for size, *_ in observer.batches)
    assert all(wait_s >= 0 for _, wait_s, _, _ in observer.batches)
    # Pixels take no decoding, and no batch has both: they were sent one request after the other.
    assert sum(size for size, _, decode_s, _ in observer.batches if decode_s > 0) == 50
    assert all(forward_s > 0 for *_, forward_s in observer.batches)


def test_predict_returns_an_error_for_an_unreadable_picture_only(
    bundle: Bundle,
) -> None:
    engine = make_engine(bundle, max_batch=4, max_pixels=SIZE_PX * SIZE_PX)
    large = encoded(Image.new("RGB", (SIZE_PX + 1, SIZE_PX)), "PNG")
    pictures = [code_picture(1), b"", code_picture(2)[:60], large, b"text", code_picture(3)]
    try:
        outcomes = wait(engine.predict(pictures))
    finally:
        engine.close()
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [
        Prediction,
        EmptyPicture,
        UndecodableImage,
        ImageTooLarge,
        UnsupportedFormat,
        Prediction,
    ]


def test_predict_returns_the_label_s_activation_map_only_if_explain(bundle: Bundle) -> None:
    engine = make_engine(bundle)
    pictures = [code_picture(code) for code in (100, 4000)]
    try:
        plain = answered(wait(engine.predict(pictures)))
        explained = answered(wait(engine.predict(pictures, AnswerOptions(explain=True))))
    finally:
        engine.close()
    assert [answer.activation for answer in plain] == [None, None]
    for answer, code in zip(explained, (100, 4000), strict=True):
        assert answer.activation is not None
        assert answer.activation.shape == (4, 4)
        assert answer.activation.dtype == torch.float32
        # The map of "mask" is the logit, and that of "no_mask" is 0 everywhere.
        logit = (code - CODES // 2) / 512 if answer.label == "mask" else 0.0
        assert torch.allclose(answer.activation, torch.tensor(logit))
    assert [answer.scores for answer in explained] == [answer.scores for answer in plain]


def test_predict_raises_after_the_deadline_and_runs_nothing(bundle: Bundle) -> None:
    observer = RecordingObserver()
    engine = Engine(bundle, threads=1, max_batch=1, observer=observer)
    try:
        with pytest.raises(DeadlineExceeded):
            wait(engine.predict([code_picture(1)], deadline=time.monotonic()))
    finally:
        engine.close()
    assert not observer.batches


class Threads:
    """A bundle's graph that records how many pictures it was given on how many threads."""

    def __init__(self, bundle: Bundle) -> None:
        self._model = bundle.model
        self.calls: list[tuple[str, int, int]] = []

    def __call__(self, pixels: Tensor) -> Any:
        assert pixels.dtype == torch.uint8
        assert pixels.shape[1:] == (3, SIZE_PX, SIZE_PX)
        assert torch.is_inference_mode_enabled()
        lane = threading.current_thread().name.rsplit("-", 1)[1]
        self.calls.append((lane, len(pixels), torch.get_num_threads()))
        return self._model(pixels)


def test_every_lane_is_warm_for_every_size_it_will_run(bundle: Bundle) -> None:
    model = Threads(bundle)
    engine = make_engine(bundle, model, threads=2, max_batch=5)
    engine.close()
    assert engine.max_batch == 5
    assert collections.Counter(model.calls) == {
        ("0", 1, 2): 3,  # a picture that is alone
        **{(lane, 1, 1): 6 for lane in "01"},  # compiled, then compared
        **{(lane, size, 1): 3 for lane in "01" for size in (2, 5)},
    }


def test_a_lone_picture_uses_all_threads_and_busy_lanes_one_each(bundle: Bundle) -> None:
    model = Threads(bundle)
    gated = GatedModel(bundle)
    gated._model = model  # type: ignore[assignment]
    engine = make_engine(bundle, gated, threads=2, max_batch=1)

    async def scene() -> None:
        model.calls.clear()
        await engine.predict([pixels_of(1)])
        assert model.calls == [("0", 1, 2)]
        gated.armed = True
        first = asyncio.create_task(engine.predict([pixels_of(1)]))
        await happens(gated.entered)
        gated.entered.clear()
        second = asyncio.create_task(engine.predict([pixels_of(2)]))
        await happens(gated.entered)
        third = asyncio.create_task(engine.predict([pixels_of(3), pixels_of(4)]))
        await asyncio.sleep(0)
        model.calls.clear()
        gated.gate.set()
        await asyncio.gather(first, second, third)

    try:
        wait(scene())
    finally:
        gated.gate.set()
        engine.close()
    # Which of the two was last may have found itself alone on the first lane.
    assert sum(threads == 1 for _, _, threads in model.calls) >= 2
    assert {threads for lane, _, threads in model.calls if lane == "1"} == {1}


def test_engine_raises_if_the_model_cannot_be_warmed_up(bundle: Bundle) -> None:
    model = GatedModel(bundle)
    model.failure = RuntimeError("not enough memory")
    with pytest.raises(RuntimeError, match="not enough memory"):
        make_engine(bundle, model)


def test_predict_raises_batch_failed_and_answers_the_next_batch(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    model = GatedModel(bundle)
    engine = make_engine(bundle, model)

    async def scene() -> None:
        model.failure = RuntimeError("broken kernel")
        with pytest.raises(BatchFailed):
            await engine.predict([pixels_of(1)])
        model.failure = None
        (found,) = answered(await engine.predict([pixels_of(CODES // 2)]))
        assert list(found.scores.values()) == [0.5, 0.5]

    try:
        wait(scene())
        assert engine.alive()
    finally:
        engine.close()
    assert "broken kernel" in caplog.text


def test_a_closed_engine_is_freed_without_the_garbage_collector(bundle: Bundle) -> None:
    engine = make_engine(bundle, threads=2)
    answered(wait(engine.predict([code_picture(1), code_picture(2)])))
    gone = weakref.ref(engine)
    engine.close()
    gc.disable()
    try:
        del engine
        assert gone() is None
    finally:
        gc.enable()


# A lane is inside PyTorch, for a caller that is gone, when the program ends.
_LEAVES = """
import asyncio, sys, threading
from pathlib import Path
import torch
from models.bundle.load import open_bundle
from tests.service.fixtures import code_picture, make_engine

busy = threading.Event()
bundle = open_bundle(Path(sys.argv[1]))
large = torch.zeros(2000, 2000)

def model(pixels):
    if armed:
        busy.set()
        torch.mm(large, large)
    return bundle.model(pixels)

armed = False
engine = make_engine(bundle, model)
armed = True

async def leave():
    task = asyncio.create_task(engine.predict([code_picture(1)]))
    await asyncio.to_thread(busy.wait, 20)
    task.cancel()

asyncio.run(leave())
engine.close(wait_s=20)
"""


def test_a_program_that_closes_its_engine_exits_cleanly_while_a_lane_works(bundle: Bundle) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _LEAVES, str(bundle.path)],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_engine_raises_batcher_closed(bundle: Bundle) -> None:
    engine = make_engine(bundle)
    engine.close()

    async def scene() -> None:
        with pytest.raises(BatcherClosed):
            await asyncio.wait_for(engine.predict([pixels_of(1)]), 5)

    wait(scene())

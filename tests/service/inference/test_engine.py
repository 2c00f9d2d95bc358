"""One loaded bundle and its worker."""

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
from service.inference.batcher import BatcherClosed, BatchFailed, TooLate
from service.inference.engine import Answer, Engine
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


def answered(outcomes: Sequence[Answer | PictureError]) -> list[Answer]:
    answers = [outcome for outcome in outcomes if isinstance(outcome, Answer)]
    assert len(answers) == len(outcomes)
    return answers


class Record:
    """Remembers what it is told of each batch."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, float, float, float]] = []

    def batch(self, size: int, wait_s: float, decode_s: float, forward_s: float) -> None:
        self.batches.append((size, wait_s, decode_s, forward_s))


@pytest.mark.parametrize("labels", [TWO, THREE])
@pytest.mark.parametrize("threads", [1, 3])
def test_answers_belong_to_their_pictures(
    labels: tuple[str, ...], threads: int, tmp_path: Path
) -> None:
    codes = shuffled_codes(50)
    watch = Record()
    engine = Engine(publish_bundle(tmp_path, labels), threads=threads, max_batch=7, watch=watch)
    assert engine.labels == labels
    assert engine.manifest.labels == list(labels)
    try:
        encoded = answered(wait(engine.predict([code_picture(code) for code in codes])))
        decoded = answered(wait(engine.predict([pixels_of(code) for code in codes])))
    finally:
        engine.close()
    for answers in (encoded, decoded):
        rows = [answer.probabilities for answer in answers]
        assert [code_of({"scores": dict(zip(labels, r, strict=True))}) for r in rows] == codes
        assert all(math.isclose(sum(row), 1, abs_tol=1e-6) for row in rows)
        assert {answer.activation for answer in answers} == {None}
    assert all(answer.decode_s > 0 for answer in encoded)
    assert all(answer.decode_s == 0 for answer in decoded)
    assert sum(size for size, *_ in watch.batches) == 100
    told = {(size, forward_s) for size, _, _, forward_s in watch.batches}
    counted = collections.Counter(answer.forward_s for answer in encoded + decoded)
    assert told == {(size, forward_s) for forward_s, size in counted.items()}
    assert max(w for _, w, _, _ in watch.batches) == max(a.wait_s for a in encoded + decoded)


def test_a_picture_that_cannot_be_read_gets_its_error_and_spoils_no_other(bundle: Bundle) -> None:
    engine = make_engine(bundle, max_batch=4, max_pixels=SIZE_PX * SIZE_PX)
    large = encoded(Image.new("RGB", (SIZE_PX + 1, SIZE_PX)), "PNG")
    pictures = [code_picture(1), b"", code_picture(2)[:60], large, b"text", code_picture(3)]
    try:
        outcomes = wait(engine.predict(pictures))
    finally:
        engine.close()
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [
        Answer,
        EmptyPicture,
        UndecodableImage,
        ImageTooLarge,
        UnsupportedFormat,
        Answer,
    ]


def test_the_activation_map_is_that_of_the_picture_and_only_if_asked_for(bundle: Bundle) -> None:
    engine = make_engine(bundle)
    pictures = [code_picture(code) for code in (100, 4000)]
    try:
        plain = answered(wait(engine.predict(pictures)))
        explained = answered(wait(engine.predict(pictures, explain=True)))
    finally:
        engine.close()
    assert [answer.activation for answer in plain] == [None, None]
    for answer, code in zip(explained, (100, 4000), strict=True):
        assert answer.activation is not None
        assert answer.activation.shape == (2, 4, 4)
        assert answer.activation.dtype == torch.float32
        assert torch.allclose(answer.activation[0], torch.tensor((code - CODES // 2) / 512))
        assert answer.probabilities == plain[explained.index(answer)].probabilities


def test_nothing_is_begun_after_the_deadline(bundle: Bundle) -> None:
    watch = Record()
    engine = Engine(bundle, threads=1, max_batch=1, watch=watch)
    try:
        with pytest.raises(TooLate):
            wait(engine.predict([code_picture(1)], deadline=time.monotonic()))
    finally:
        engine.close()
    assert not watch.batches


class Threads:
    """A bundle's graph that remembers how many pictures it was given on how many threads."""

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


def test_every_lane_is_warm_for_what_it_will_be_asked(bundle: Bundle) -> None:
    model = Threads(bundle)
    engine = make_engine(bundle, model, threads=2, max_batch=5)
    engine.close()
    assert engine.max_batch == 5
    assert collections.Counter(model.calls) == {
        ("0", 1, 2): 3,  # a picture that is alone
        **{(lane, 1, 1): 6 for lane in "01"},  # compiled, then compared
        **{(lane, size, 1): 3 for lane in "01" for size in (2, 5)},
    }


def test_a_picture_alone_has_all_threads_and_lanes_at_work_have_one_each(bundle: Bundle) -> None:
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


def test_a_model_that_cannot_be_warmed_up_makes_no_engine(bundle: Bundle) -> None:
    model = GatedModel(bundle)
    model.failure = RuntimeError("not enough memory")
    with pytest.raises(RuntimeError, match="not enough memory"):
        make_engine(bundle, model)


def test_a_failing_batch_is_an_error_and_the_next_is_answered(
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
        assert found.probabilities == [0.5, 0.5]

    try:
        wait(scene())
        assert engine.alive()
    finally:
        engine.close()
    assert "broken kernel" in caplog.text


def test_a_closed_engine_goes_at_once_without_the_garbage_collector(bundle: Bundle) -> None:
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


# A lane is inside PyTorch, for a caller that has left, when the program ends.
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


def test_a_program_that_closes_its_engine_can_end_while_a_lane_works(bundle: Bundle) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _LEAVES, str(bundle.path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_engine_takes_nothing(bundle: Bundle) -> None:
    engine = make_engine(bundle)
    engine.close()

    async def scene() -> None:
        with pytest.raises(BatcherClosed):
            await asyncio.wait_for(engine.predict([pixels_of(1)]), 5)

    wait(scene())

"""One loaded bundle and its worker."""

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.bundle import Bundle
from models.image import decode_image
from service.batcher import BatcherClosed, BatchFailed
from tests.service_fixtures import (
    CODES,
    SIZE_PX,
    THREE,
    TWO,
    GatedModel,
    code_of,
    code_picture,
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


@pytest.mark.parametrize("labels", [TWO, THREE])
def test_answers_belong_to_their_pictures(labels: tuple[str, ...], tmp_path: Path) -> None:
    codes = shuffled_codes(50)
    engine = make_engine(publish_bundle(tmp_path, labels), max_batch=7)
    assert engine.labels == labels
    assert engine.manifest.labels == list(labels)
    try:
        answers = wait(engine.predict([pixels_of(code) for code in codes]))
    finally:
        engine.close()
    assert [code_of({"scores": dict(zip(labels, row, strict=True))}) for row in answers] == codes
    assert all(math.isclose(sum(row), 1, abs_tol=1e-6) for row in answers)


def test_the_model_is_warm_for_each_size_of_batch_before_it_is_asked(bundle: Bundle) -> None:
    calls: list[tuple[int, ...]] = []
    threads: set[int] = set()

    def model(pixels: Tensor) -> Any:
        assert pixels.dtype == torch.uint8
        assert torch.is_inference_mode_enabled()
        calls.append(tuple(pixels.shape))
        threads.add(torch.get_num_threads())
        return bundle.model(pixels)

    engine = make_engine(bundle, model, max_batch=5)
    engine.close()
    assert [shape[0] for shape in calls] == [1, 1, 1, 2, 2, 2, 5, 5, 5]
    assert {shape[1:] for shape in calls} == {(3, SIZE_PX, SIZE_PX)}
    assert threads == {1}


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
        (row,) = await engine.predict([pixels_of(CODES // 2)])
        assert row == [0.5, 0.5]

    try:
        wait(scene())
        assert engine.alive()
    finally:
        engine.close()
    assert "broken kernel" in caplog.text


def test_a_closed_engine_takes_nothing(bundle: Bundle) -> None:
    engine = make_engine(bundle)
    engine.close()

    async def scene() -> None:
        with pytest.raises(BatcherClosed):
            await asyncio.wait_for(engine.predict([pixels_of(1)]), 5)

    wait(scene())

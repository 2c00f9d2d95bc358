"""One loaded bundle and the lanes that run it: encoded pictures in, predictions out.

Each lane decodes the pictures of its own small batch and runs the graph on them with one
thread. That beats a pool of decoders before one forward pass with many threads: nothing is
handed from thread to thread, and no core waits for another inside a layer. A picture alone in
the service has all threads instead.
"""

import time
from collections.abc import Sequence
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from models.bundle.device import CPU
from models.bundle.files import REPORT
from models.bundle.load import Bundle
from models.errors import PictureError
from models.imaging.face_detector import load_detector
from models.imaging.limits import DECODE_S, MAX_FILE_BYTES, MAX_PIXELS
from service.inference.batching.batcher import Batcher, Prepared
from service.inference.decision import (
    DEFAULT_OPTIONS,
    AnswerOptions,
    PictureFaces,
    Prediction,
    decide,
    nearer,
)
from service.inference.decoder import Decoder
from service.inference.items import DecodedItem, FacesItem, FramingItem, Item, PictureItem
from service.inference.tuning import ThreadPolicy, WarmUp, use_threads, warm_up
from service.limits.memory_bound import DecodingBudgets
from service.process.background import LANE_THREAD_PREFIX

# Decoding this many takes about as long as a forward pass; decoded pictures should not wait
# longer.
_MAX_PIXELS_PER_BATCH: Final = 16_000_000

# Max seconds that `close` waits for the batches in progress.
_CLOSE_WAIT_S: Final = 3.0

# Largest batches that are tried at the start. Only large batches keep a GPU busy.
_LARGEST_BATCH: Final = 8
_LARGEST_CUDA_BATCH: Final = 32


class BatchObserver(Protocol):
    """Receives the times of each batch, on the lane's thread; must be quick and never raise."""

    def record_batch(self, size: int, wait_s: float, decode_s: float, forward_s: float) -> None:
        """Record a batch: size, longest wait, total decoding time, and forward pass."""


class Engine:
    """Answers pictures with one model until it is closed; needs no HTTP.

    A doubtful answer to a whole picture gets a second pass through the same queue, with the same
    deadline: see `models.imaging.framing`.

    Attributes:
        manifest: The bundle's manifest.
        documents: Further files of the bundle by name, such as the model card.
        report: The model's report as HTML, if it has one.
        labels: Classes, in the order of the probabilities.
        threshold: Score below which the decision is `uncertain`, unless a caller has another one.
        crops_faces: True if the model's input is the main face of a picture.
        framing: When and how a picture's main face is framed; None if pictures stay whole.
        max_batch: Max pictures per forward pass.
        batches: Number of batches answered. Only its growth is reliable: lanes may miscount.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int,
        threshold: float | None = None,
        max_batch: int = 0,
        max_pixels: int = MAX_PIXELS,
        max_file_bytes: int = MAX_FILE_BYTES,
        decode_s: float = DECODE_S,
        budgets: DecodingBudgets | None = None,
        observer: BatchObserver | None = None,
    ) -> None:
        """Start the lanes and warm the model up on each.

        Args:
            bundle: Verified and loaded bundle.
            threads: Number of lanes, and of threads for the forward pass of a lone picture.
            threshold: Score below which the decision is `uncertain`; None for the model's.
            max_batch: Max pictures per forward pass; 0 measures the best size.
            max_pixels: Max pixels per picture, by its header.
            max_file_bytes: Max bytes per encoded file.
            decode_s: Max processor seconds for decoding a picture.
            budgets: Memory for decoding, shared with the lanes of other engines.
            observer: Receives the times of each batch.
        """
        self.manifest = bundle.manifest
        self.documents = bundle.documents
        self.report = bundle.documents.get(REPORT)
        self.labels = tuple(bundle.manifest.labels)
        self.threshold = bundle.manifest.decision.threshold if threshold is None else threshold
        self.crops_faces = bundle.manifest.crop.name == "faces"
        self.framing = bundle.framing
        self.batches = 0
        self._bundle = bundle
        self._threads = threads
        self._observer = observer
        self._decoder = Decoder(
            input_px=bundle.manifest.input_px,
            crops_faces=self.crops_faces,
            max_pixels=max_pixels,
            max_file_bytes=max_file_bytes,
            decode_s=decode_s,
            budgets=budgets or DecodingBudgets(),
            framing=bundle.framing,
        )
        self._fixed_batch = max_batch
        self._warm_ups: dict[int, WarmUp] = {}  # by lane
        self._batcher: Batcher[Item, DecodedItem, Any] = Batcher(
            self._prepare,
            self._forward,
            lanes=threads,
            max_batch=1,
            max_cost=_MAX_PIXELS_PER_BATCH,
            begin=self._warm_up,
            name=f"{LANE_THREAD_PREFIX}{bundle.manifest.version}",
        )
        # The size that every lane is warm for.
        self.max_batch = min(warm.max_batch for warm in self._warm_ups.values())
        self._batcher.max_batch = self.max_batch
        self._thread_policy = ThreadPolicy(threads, self._warm_ups[0].one_thread_s)  # first lane's

    async def predict(
        self,
        pictures: Sequence[bytes | bytearray | Tensor],
        options: AnswerOptions = DEFAULT_OPTIONS,
        *,
        deadline: float = float("inf"),
    ) -> list[Prediction | PictureError]:
        """Return the answer for each picture, in order, or its error if it cannot be read.

        Args:
            pictures: Encoded files; or uint8 (3, S, S) pixels, as `decode_image` returns them.
            options: What the caller chose about the answers.
            deadline: Time on `time.monotonic()`'s clock after which nothing is begun.

        Raises:
            BatchFailed: The model raised.
            DeadlineExceeded: The deadline passed.
            BatcherClosed: The engine is closed.
        """
        items = [PictureItem(picture, options) for picture in pictures]
        outcomes: list[Prediction | PictureError]
        outcomes = await self._batcher.submit(items, deadline=deadline)
        if self.framing is None or options.whole:
            return outcomes
        doubtful = {
            index: FramingItem(picture, options, self.framing, outcome)
            for index, (picture, outcome) in enumerate(zip(pictures, outcomes, strict=True))
            if not isinstance(picture, Tensor)
            and isinstance(outcome, Prediction)
            and outcome.distance is not None
            and self.framing.is_doubtful(outcome.score, outcome.distance)
        }
        seconds = await self._batcher.submit(list(doubtful.values()), deadline=deadline)
        for index, second in zip(doubtful, seconds, strict=True):
            outcomes[index] = second
        return outcomes

    async def predict_faces(
        self,
        pictures: Sequence[bytes | bytearray],
        options: AnswerOptions = DEFAULT_OPTIONS,
        *,
        max_faces: int,
        deadline: float = float("inf"),
    ) -> list[PictureFaces | PictureError]:
        """Return the answers for the faces of each picture, in order, or the picture's error.

        Args:
            pictures: Encoded files.
            options: As for `predict`.
            max_faces: Max faces per picture.
            deadline: As for `predict`.

        Raises:
            DetectorUnavailable: No face detector is installed.
            BatchFailed, DeadlineExceeded, BatcherClosed: As for `predict`.
        """
        load_detector()
        items = [FacesItem(picture, max_faces, options) for picture in pictures]
        return await self._batcher.submit(items, deadline=deadline)

    def threshold_for(self, options: AnswerOptions) -> float:
        """Return the score below which the decision is `uncertain` with these options."""
        return self.threshold if options.threshold is None else options.threshold

    def alive(self) -> bool:
        """Return True if at least one lane works or waits for work."""
        return self._batcher.alive()

    def busy_s(self) -> float:
        """Return the seconds since the oldest batch in progress was begun."""
        return self._batcher.busy_s()

    def close(self, *, wait_s: float = _CLOSE_WAIT_S) -> None:
        """End the lanes; answer queued pictures with an error.

        Args:
            wait_s: Max seconds to wait for the batches in progress. PyTorch aborts a program that
                ends while a lane is inside it.
        """
        self._batcher.close(wait_s=wait_s)

    def _warm_up(self, lane: int) -> None:
        """Warm the model up on the lane's own thread, so that the first request is not slow."""
        self._warm_ups[lane] = warm_up(
            self._bundle.answer,
            self.manifest.input_px,
            self._fixed_batch,
            self._threads if lane == 0 else 1,
            largest=_LARGEST_BATCH if self._bundle.device == CPU else _LARGEST_CUDA_BATCH,
        )

    def _prepare(
        self, item: Item, wait_s: float
    ) -> Prepared[DecodedItem] | Prediction | PictureFaces | PictureError:
        """Decode a picture for its batch; answer the faces of a picture at once."""
        if isinstance(item, FramingItem):
            return self._frame(item, wait_s)
        try:
            if isinstance(item, FacesItem):
                return self._answer_faces(item, wait_s)
            if isinstance(item.picture, Tensor):
                return Prepared(DecodedItem(item.picture, item.options, wait_s, 0.0))
            began = time.perf_counter()
            found = self._decoder.decode(item.picture)
            decode_s = time.perf_counter() - began
        except PictureError as error:
            return error
        decoded = DecodedItem(
            found.pixels, item.options, wait_s, decode_s, size=found.size, face=found.face
        )
        return Prepared(decoded, found.decoded_pixels)

    def _frame(self, item: FramingItem, wait_s: float) -> Prepared[DecodedItem] | Prediction:
        """Frame a picture's main face for its batch; else return the answer to the whole picture.

        The picture has been decoded once. If that takes too long at the size of the search, the
        first answer counts.
        """
        began = time.perf_counter()
        try:
            framed = self._decoder.frame(item.picture, item.framing)
        except PictureError:
            framed = None
        if framed is None:
            self.batches += 1  # a search without a face is progress, too
            return item.whole
        decode_s = time.perf_counter() - began
        decoded = DecodedItem(
            *(framed.pixels, item.options, wait_s, decode_s),
            size=item.whole.size,
            framed=framed.found,
            whole=item.whole,
        )
        return Prepared(decoded, framed.source_pixels)

    def _answer_faces(self, item: FacesItem, wait_s: float) -> PictureFaces:
        """Find a picture's faces and answer them at once, so that no cut-out face waits."""
        began = time.perf_counter()
        crops = self._decoder.cut_faces(item.picture, max_faces=item.max_faces)
        decode_s = (time.perf_counter() - began) / max(1, len(crops.faces))
        decoded = [
            DecodedItem(pixels, item.options, wait_s, decode_s, face=face)
            for pixels, face in zip(crops.pixels, crops.faces, strict=True)
        ]
        predictions = [
            prediction
            for start in range(0, len(decoded), self.max_batch)
            for prediction in self._forward(decoded[start : start + self.max_batch], alone=False)
        ]
        self.batches += not predictions  # a search without faces is progress, too
        return PictureFaces(crops.width, crops.height, predictions, crops.left_out)

    def _forward(self, batch: list[DecodedItem], alone: bool) -> list[Prediction]:
        """Run the graph on a batch, with all threads if it is alone in the service."""
        began = time.perf_counter()
        threads = self._thread_policy.threads() if alone else 1
        use_threads(threads)
        outputs = self._bundle.answer(torch.stack([item.pixels for item in batch]))
        use_threads(1)  # for decoding, which a second thread would slow down
        rows: list[list[float]] = outputs.probabilities.tolist()
        distances = [None] * len(rows) if outputs.distance is None else outputs.distance.tolist()
        forward_s = time.perf_counter() - began
        if alone and len(batch) == 1:
            self._thread_policy.record(threads, forward_s)
        self.batches += 1
        if self._observer is not None:
            self._observer.record_batch(
                len(batch),
                max(item.wait_s for item in batch),
                sum(item.decode_s for item in batch),
                forward_s,
            )
        predictions = [
            decide(
                self.manifest,
                row,
                threshold=self.threshold_for(item.options),
                distance=distance,
                activation=outputs.activation[index] if item.options.explain else None,
                size=item.size,
                face=item.face,
                framed=item.framed,
            )
            for index, (item, row, distance) in enumerate(zip(batch, rows, distances, strict=True))
        ]
        return [
            prediction if item.whole is None else nearer(item.whole, prediction)
            for item, prediction in zip(batch, predictions, strict=True)
        ]

"""One loaded bundle and the lanes that run it: encoded pictures in, answers out.

Each lane decodes the pictures of its own small batch and runs the graph on them with one
thread. That beats a pool of decoders before one forward pass with many threads: nothing is
handed from thread to thread, and no core waits for another inside a layer. A picture alone in
the service has all threads instead.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from models.bundle.device import CPU
from models.bundle.load import REPORT, Bundle
from models.errors import PictureError
from models.imaging.decode import Opened, Upright, decode_opened, decoding_bytes, open_image
from models.imaging.face_detector import load_detector
from models.imaging.faces import (
    Face,
    cut_face,
    cut_main_face,
    find_faces,
    searching_bytes,
    upright_of,
)
from models.imaging.limits import COPIES, DECODE_S, MAX_FILE_BYTES, MAX_PIXELS
from service.inference.batcher import Batcher, Ready
from service.inference.tuning import Choice, use_threads
from service.inference.warmup import Warm, warm_up
from service.limits.gate import Gates
from service.process.background import LANE_THREAD_PREFIX

# Decoding so many takes about as long as a forward pass; what is decoded should not wait
# for more of it.
_MAX_PIXELS_A_BATCH: Final = 16_000_000

# Most seconds that a close waits for the batches in hand.
_LAST_BATCH_S: Final = 3.0

# Largest batches that are tried at the start. A GPU is busy only with many pictures at a time.
_LARGEST: Final = 8
_LARGEST_CUDA: Final = 32


class Watch(Protocol):
    """Told of each batch, on its lane's thread; must not raise, and should be quick."""

    def batch(self, size: int, wait_s: float, decode_s: float, forward_s: float) -> None:
        """A batch was answered: its size, longest wait, decoding in all, and forward pass."""


class Unwatched:
    """Looks away."""

    def batch(self, size: int, wait_s: float, decode_s: float, forward_s: float) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Answer:
    """What the model says of one picture.

    Attributes:
        probabilities: Of each class, in the labels' order.
        activation: Class-activation map, float32 (K, h, w), if it was asked for.
        distance: From the training pictures, 0 to 2, if the model measures it.
        wait_s: From acceptance to decoding, in seconds.
        decode_s: Of this picture.
        forward_s: Of the batch that it was in.
        face: What of the picture the model was given; None for the whole.
    """

    probabilities: list[float]
    activation: Tensor | None
    distance: float | None
    wait_s: float
    decode_s: float
    forward_s: float
    face: Face | None = None


@dataclass(frozen=True)
class Faces:
    """What the model says of the faces of one picture.

    Attributes:
        width: Of the picture, upright, in pixels.
        height: As width.
        answers: Of the likeliest faces, the likeliest first.
        left_out: How many more there are.
    """

    width: int
    height: int
    answers: list[Answer]
    left_out: int


@dataclass(frozen=True)
class _Asked:
    picture: bytes | bytearray | Tensor
    explain: bool


@dataclass(frozen=True)
class _Search:
    picture: bytes | bytearray
    most: int
    explain: bool


@dataclass(frozen=True)
class _Decoded:
    pixels: Tensor  # uint8 (3, S, S)
    explain: bool
    wait_s: float
    decode_s: float
    face: Face | None = None


class Engine:
    """Answers pictures with one model until it is closed."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int,
        max_batch: int = 0,
        max_pixels: int = MAX_PIXELS,
        max_file_bytes: int = MAX_FILE_BYTES,
        decode_s: float = DECODE_S,
        gates: Gates | None = None,
        watch: Watch | None = None,
    ) -> None:
        """Start the lanes and warm the model up on each.

        Args:
            bundle: Verified and loaded.
            threads: Lanes, and threads of the forward pass of a picture that is alone.
            max_batch: Most pictures a forward pass; 0 finds out by measuring.
            max_pixels: Refuse pictures of more, judged from the header.
            max_file_bytes: Refuse files of more.
            decode_s: Most processor seconds that decoding a picture may take.
            gates: Bound what the lanes, also those of other engines, decode at a time.
            watch: Told of each batch.
        """
        self.manifest = bundle.manifest
        self.report = bundle.documents.get(REPORT)
        self.labels = tuple(bundle.manifest.labels)
        self.crops = bundle.manifest.crop.name == "faces"
        self._bundle = bundle
        self._threads = threads
        self._max_pixels = max_pixels
        self._max_file_bytes = max_file_bytes
        self._decode_s = decode_s
        self._gates = gates or Gates()
        self._watch = watch or Unwatched()
        self.batches = 0  # answered; whether it grows is what counts, as lanes may miscount
        self._warm: dict[int, Warm] = {}  # by lane
        self._fixed = max_batch
        self._batcher: Batcher[_Asked | _Search, _Decoded, Any] = Batcher(
            self._prepare,
            self._forward,
            lanes=threads,
            max_batch=1,
            max_cost=_MAX_PIXELS_A_BATCH,
            begin=self._begin,
            name=f"{LANE_THREAD_PREFIX}{bundle.manifest.version}",
        )
        # What every lane is warm for.
        self.max_batch = self._batcher.max_batch = min(w.max_batch for w in self._warm.values())
        self._choice = Choice(threads, self._warm[0].one_s)  # the first lane's only

    async def predict(
        self,
        pictures: Sequence[bytes | bytearray | Tensor],
        *,
        explain: bool = False,
        deadline: float = float("inf"),
    ) -> list[Answer | PictureError]:
        """Answer pictures, in order; one that cannot be read gets its error.

        Args:
            pictures: Encoded files; or uint8 (3, S, S) pixels, as `decode_image` gives them.
            explain: Give the class-activation maps, too.
            deadline: Moment on `time.monotonic()`'s clock after which nothing is begun.

        Raises:
            BatchFailed: The model raised.
            TooLate: The deadline passed.
            BatcherClosed: The engine has been closed.
        """
        asked = [_Asked(picture, explain) for picture in pictures]
        return await self._batcher.submit(asked, deadline=deadline)

    async def predict_faces(
        self,
        pictures: Sequence[bytes | bytearray],
        *,
        most: int,
        explain: bool = False,
        deadline: float = float("inf"),
    ) -> list[Faces | PictureError]:
        """Answer the faces of pictures, in order; one that cannot be read gets its error.

        Args:
            pictures: Encoded files.
            most: Faces a picture.
            explain: As for `predict`.
            deadline: As for `predict`.

        Raises:
            DetectorUnavailable: There is no detector here.
            BatchFailed, TooLate, BatcherClosed: As for `predict`.
        """
        load_detector()
        asked = [_Search(picture, most, explain) for picture in pictures]
        return await self._batcher.submit(asked, deadline=deadline)

    def alive(self) -> bool:
        """Whether a lane is working or ready to."""
        return self._batcher.alive()

    def busy_s(self) -> float:
        """Seconds that the lane that is longest at its present batch has been at it."""
        return self._batcher.busy_s()

    def close(self, *, wait_s: float = _LAST_BATCH_S) -> None:
        """End the lanes; what is still waiting is answered with an error.

        Args:
            wait_s: Most seconds to wait for the batches in hand. A program that ends while a
                lane is inside PyTorch is aborted by it.
        """
        self._batcher.close(wait_s=wait_s)

    def _begin(self, lane: int) -> None:
        """Warm up where the work will be done, so that the first caller waits no longer."""
        self._warm[lane] = warm_up(
            self._bundle.answer,
            self.manifest.input_px,
            self._fixed,
            self._threads if lane == 0 else 1,
            largest=_LARGEST if self._bundle.device == CPU else _LARGEST_CUDA,
        )

    def _prepare(
        self, asked: _Asked | _Search, wait_s: float
    ) -> Ready[_Decoded] | PictureError | Faces:
        if isinstance(asked, _Search):
            return self._search(asked, wait_s)
        return self._decode(asked, wait_s)

    def _search(self, asked: _Search, wait_s: float) -> Faces | PictureError:
        """Find a picture's faces and answer them at once, so that none waits cut out."""
        began, size = time.perf_counter(), self.manifest.input_px
        try:
            with self._upright(asked.picture) as picture:
                faces = find_faces(picture, load_detector())
                found = faces[: asked.most]
                cuts = [cut_face(picture, face, size) for face in found]
        except PictureError as error:
            return error
        took = (time.perf_counter() - began) / max(1, len(found))
        decoded = [
            _Decoded(cut, asked.explain, wait_s, took, face)
            for cut, face in zip(cuts, found, strict=True)
        ]
        answers = [
            answer
            for at in range(0, len(decoded), self.max_batch)
            for answer in self._forward(decoded[at : at + self.max_batch], alone=False)
        ]
        self.batches += not answers  # a search is progress, too
        return Faces(picture.width, picture.height, answers, len(faces) - len(found))

    @contextlib.contextmanager
    def _opened(self, picture: bytes | bytearray) -> Iterator[Opened]:
        """A picture whose header is within the bounds, and room for its file."""
        with self._gates.files.hold(COPIES * len(picture)):
            yield open_image(
                picture,
                max_pixels=self._max_pixels,
                max_bytes=self._max_file_bytes,
                decode_s=self._decode_s,
            )

    @contextlib.contextmanager
    def _upright(self, picture: bytes | bytearray) -> Iterator[Upright]:
        """A picture to find and cut out faces in, and room for both."""
        with self._opened(picture) as image, self._gates.pixels.hold(searching_bytes(image)):
            yield upright_of(image)

    def _decode(self, asked: _Asked, wait_s: float) -> Ready[_Decoded] | PictureError:
        picture = asked.picture
        if isinstance(picture, Tensor):
            return Ready(_Decoded(picture, asked.explain, wait_s, 0.0))
        began = time.perf_counter()
        size, face = self.manifest.input_px, None
        try:
            if self.crops:
                with self._upright(picture) as upright:
                    pixels, face = cut_main_face(upright, load_detector(), size)
                    cost = upright.width * upright.height
            else:
                with self._opened(picture) as image:
                    with self._gates.pixels.hold(decoding_bytes(image, size)):
                        pixels = decode_opened(image, size=size)
                    cost = image.width * image.height
        except PictureError as error:
            return error
        took = time.perf_counter() - began
        return Ready(_Decoded(pixels, asked.explain, wait_s, took, face), cost)

    def _forward(self, batch: list[_Decoded], alone: bool) -> list[Answer]:
        began = time.perf_counter()
        threads = self._choice.threads() if alone else 1
        use_threads(threads)
        outputs = self._bundle.answer(torch.stack([item.pixels for item in batch]))
        use_threads(1)  # for decoding, too: a second thread would cost it more
        rows: list[list[float]] = outputs.probabilities.tolist()
        known = outputs.distance
        distances = [None] * len(rows) if known is None else known.tolist()
        forward_s = time.perf_counter() - began
        if alone and len(batch) == 1:
            self._choice.took(threads, forward_s)
        self.batches += 1
        self._watch.batch(
            len(batch),
            max(item.wait_s for item in batch),
            sum(item.decode_s for item in batch),
            forward_s,
        )
        return [
            Answer(
                row,
                outputs.activation[place].clone() if item.explain else None,
                distances[place],
                item.wait_s,
                item.decode_s,
                forward_s,
                item.face,
            )
            for place, (item, row) in enumerate(zip(batch, rows, strict=True))
        ]

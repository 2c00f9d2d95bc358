"""Encoded pictures to model input, within the service's limits and memory budgets."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from models.imaging.decode import OrientedImage, decode_opened
from models.imaging.face_detector import load_detector
from models.imaging.faces import (
    MIN_FACE_PX,
    Face,
    cut_face,
    cut_main_face,
    find_faces,
    orient,
)
from models.imaging.framing import MAX_ENLARGEMENT, FramedFace, Framing
from models.imaging.memory import FILE_COPIES, decoding_bytes, searching_bytes
from models.imaging.open import LazyImage, open_image
from service.limits.memory_bound import DecodingBudgets


@dataclass(frozen=True)
class DecodedPicture:
    """One picture as the model's input.

    Attributes:
        pixels: uint8 (3, S, S).
        size: Width and height of the upright picture, in pixels.
        decoded_pixels: Number of pixels that were decoded; fewer than it has for a reduced JPEG.
        face: The face that was cut out, if the model crops to faces and one was found.
    """

    pixels: Tensor
    size: tuple[int, int]
    decoded_pixels: int
    face: Face | None = None


@dataclass(frozen=True)
class FaceCrops:
    """The faces found in one picture.

    Attributes:
        width: Width of the upright picture, in pixels.
        height: Height of the upright picture, in pixels.
        faces: The likeliest faces, the likeliest first.
        pixels: Each of these faces cut out, uint8 (3, S, S).
        left_out: Number of faces beyond these.
    """

    width: int
    height: int
    faces: list[Face]
    pixels: list[Tensor]
    left_out: int


@dataclass(frozen=True)
class FramedPixels:
    """The main face of one picture, as the model's input.

    Attributes:
        found: The face and the part around it.
        pixels: This part, uint8 (3, S, S).
        source_pixels: Number of pixels of the picture as sent.
    """

    found: FramedFace
    pixels: Tensor
    source_pixels: int


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """Decodes pictures for one model; its methods may run on several threads at a time.

    They raise `PictureError` for a picture that cannot be read or exceeds a limit.

    Attributes:
        input_px: Edge S of the model's input, in pixels.
        crops_faces: True if the model's input is the main face instead of the whole picture.
        max_pixels: Max pixels per picture, by its header.
        max_file_bytes: Max bytes per encoded file.
        decode_s: Max processor seconds per picture.
        budgets: Memory shared with other lanes and decoders.
        framing: How faces are framed for the model; None for a margin of its own.
    """

    input_px: int
    crops_faces: bool
    max_pixels: int
    max_file_bytes: int
    decode_s: float
    budgets: DecodingBudgets
    framing: Framing | None = None

    def decode(self, picture: bytes | bytearray) -> DecodedPicture:
        """Decode one picture to the model's input."""
        input_px = self.input_px
        if self.crops_faces:
            with self._oriented(picture) as oriented:
                pixels, face = cut_main_face(oriented, load_detector(), input_px)
                width, height = oriented.width, oriented.height
                return DecodedPicture(pixels, (width, height), width * height, face)
        with self._opened(picture) as image:
            with self.budgets.pixels.wait(decoding_bytes(image, input_px)):
                pixels, size = decode_opened(image, size=input_px)
            return DecodedPicture(pixels, size, image.width * image.height)

    def cut_faces(self, picture: bytes | bytearray, *, max_faces: int) -> FaceCrops:
        """Find the faces of one picture and cut out the likeliest ones."""
        with self._oriented(picture) as oriented:
            found = find_faces(
                oriented, load_detector(), enlarge=MAX_ENLARGEMENT, min_px=MIN_FACE_PX
            )
            if self.framing is not None:
                width, height = oriented.width, oriented.height
                found = [
                    replace(face, square=self.framing.around(face.box, width, height))
                    for face in found
                ]
            faces = found[:max_faces]
            pixels = [cut_face(oriented, face, self.input_px) for face in faces]
        return FaceCrops(
            oriented.width, oriented.height, faces, pixels, left_out=len(found) - len(faces)
        )

    def frame(self, picture: bytes | bytearray, framing: Framing) -> FramedPixels | None:
        """Find the main face of one picture and cut it out, framed as in training.

        Returns:
            None without a face, or if the picture is framed already.
        """
        with self._oriented(picture) as oriented:
            found = framing.find(oriented, load_detector())
            if found is None:
                return None
            pixels = oriented.cut(found.box, self.input_px)
            return FramedPixels(found, pixels, oriented.width * oriented.height)

    @contextlib.contextmanager
    def _opened(self, picture: bytes | bytearray) -> Iterator[LazyImage]:
        """Open a picture whose header is within the limits, with memory for its file."""
        with self.budgets.files.wait(FILE_COPIES * len(picture)):
            yield open_image(
                picture,
                max_pixels=self.max_pixels,
                max_bytes=self.max_file_bytes,
                decode_s=self.decode_s,
            )

    @contextlib.contextmanager
    def _oriented(self, picture: bytes | bytearray) -> Iterator[OrientedImage]:
        """Decode a picture upright, with memory for the search for faces in it."""
        with self._opened(picture) as image, self.budgets.pixels.wait(searching_bytes(image)):
            yield orient(image)

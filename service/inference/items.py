"""Items of an engine: what waits in its queue, and what of it goes into a batch."""

from dataclasses import dataclass

from torch import Tensor

from models.imaging.faces import Face
from models.imaging.framing import FramedFace, Framing
from service.inference.decision import AnswerOptions, Prediction


@dataclass(frozen=True)
class PictureItem:
    """A picture to answer: an encoded file, or uint8 (3, S, S) pixels."""

    picture: bytes | bytearray | Tensor
    options: AnswerOptions


@dataclass(frozen=True)
class FacesItem:
    """An encoded picture of which each face is to be answered."""

    picture: bytes | bytearray
    max_faces: int
    options: AnswerOptions


@dataclass(frozen=True)
class FramingItem:
    """An encoded picture for the second pass.

    Attributes:
        picture: The file.
        options: What the caller chose.
        framing: How its main face is framed.
        whole: The doubtful answer to the whole picture.
    """

    picture: bytes | bytearray
    options: AnswerOptions
    framing: Framing
    whole: Prediction


Item = PictureItem | FacesItem | FramingItem
"""What a queue holds."""


@dataclass(frozen=True)
class DecodedItem:
    """The model's input for one picture or face, ready for a batch.

    Attributes:
        pixels: uint8 (3, S, S).
        options: What the caller chose.
        wait_s: Seconds from acceptance to decoding.
        decode_s: Seconds of decoding.
        size: Width and height of the upright picture, in pixels, if it was decoded here.
        face: The face that the pixels show, if it was looked for.
        framed: The main face that they frame, in the second pass.
        whole: The answer to compare with, in the second pass.
    """

    pixels: Tensor
    options: AnswerOptions
    wait_s: float
    decode_s: float
    size: tuple[int, int] | None = None
    face: Face | None = None
    framed: FramedFace | None = None
    whole: Prediction | None = None

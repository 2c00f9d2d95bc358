"""`--crop faces`: a source that replaces each picture by its main face.

The faces are read as BMP files of the model's input size: lossless, so that decoding one gives
bit for bit the pixels that `models.imaging.faces` cut out for the service, and files, so that
features, statistics and the data set's fingerprint are keyed by content as those of any picture.
"""

import contextlib
import hashlib
import io
import json
from dataclasses import asdict
from typing import Final

from PIL import Image

from models.imaging.decode import DECODER, OrientedImage
from models.imaging.face_detector import Detector, load_detector
from models.imaging.faces import CROPPER, Face, cut_face, main_face, open_oriented
from training.data.cache import Cache
from training.data.decoding import remembered_failure
from training.data.source import SkippedFile, Source

_KEY_PREFIX: Final = f"face:{CROPPER}:{DECODER}:"


class FaceCropSource(Source):
    """Main faces of another source's pictures; a picture without a face stays whole.

    Attributes:
        faceless: Names of the pictures read so far in which no face was found.
    """

    def __init__(self, source: Source, detector: Detector, *, size: int, cache: Cache) -> None:
        """Wrap a source.

        Args:
            source: Whole pictures.
            detector: Searches each picture once; the cache keeps the result.
            size: Edge of the crops, in pixels.
            cache: Must stay open as long as the source is read.
        """
        super().__init__(source.path)
        self._source = source
        self._detector = detector
        self._size = size
        self._cache = cache
        self.faceless: set[str] = set()

    def names(self) -> list[str]:
        return self._source.names()

    @property
    def skipped(self) -> list[SkippedFile]:
        return self._source.skipped

    def has(self, name: str) -> bool:
        return self._source.has(name)

    def digest(self, name: str) -> str:
        return self._source.digest(name)  # of the whole picture, not of its face

    def _read(self, name: str) -> bytes:
        """Return the main face of one picture, as a BMP file.

        Raises:
            OSError: The file cannot be read.
            PictureError: The file cannot be decoded.
            OutputError: The cache cannot be used.
        """
        data = self._source.read(name)
        sha256 = hashlib.sha256(data).hexdigest()
        with remembered_failure(self._cache, sha256):
            picture = open_oriented(data)
        face = self._find_main_face(picture, sha256)
        if face is None:
            self.faceless.add(name)
        pixels = cut_face(picture, face, self._size)
        planes = [Image.fromarray(plane) for plane in pixels.numpy()]  # (3, S, S)
        file = io.BytesIO()
        Image.merge("RGB", planes).save(file, "BMP")
        return file.getvalue()

    def _find_main_face(self, picture: OrientedImage, sha256: str) -> Face | None:
        """Return the cached face of a picture, or detect it."""
        cached = self._cache.get(_KEY_PREFIX + sha256)
        if cached is not None:
            with contextlib.suppress(ValueError, TypeError, KeyError):
                return _parse_face(cached, picture)
        face = main_face(picture, self._detector)
        self._cache.put([(_KEY_PREFIX + sha256, json.dumps(face and asdict(face)).encode())])
        return face


def _parse_face(cached: bytes, picture: OrientedImage) -> Face | None:
    """Return a face from the cache; raise if it does not lie in the picture."""
    found = json.loads(cached)
    if found is None:
        return None
    face = Face(tuple(found["box"]), tuple(found["square"]), float(found["score"]))
    for left, top, right, bottom in (face.box, face.square):
        if not (0 <= left < right <= picture.width and 0 <= top < bottom <= picture.height):
            raise ValueError(found)
    return face


def crop_faces(source: Source, *, size: int, cache: Cache) -> FaceCropSource:
    """Replace a source's pictures by their main faces.

    Args:
        source: Whole pictures.
        size: Edge of the crops, in pixels.
        cache: Must stay open as long as the result is read.

    Raises:
        DetectorUnavailable: The face detector is not installed.
    """
    return FaceCropSource(source, load_detector(), size=size, cache=cache)

"""`--crop faces`: each picture is replaced by its main face before anything else sees it.

A source whose files are what the service would give the model, as pictures of the model's own
size without loss: what is decoded from them is, bit for bit, what `models.imaging.faces` cut out.
"""

import hashlib
import io
import json
from dataclasses import asdict, replace
from pathlib import Path

from PIL import Image

from models.imaging.decode import DECODER, OrientedImage
from models.imaging.face_detector import Detector, load_detector
from models.imaging.faces import CROPPER, Face, cut_face, main_face, open_oriented
from training.audit.findings import Finding, many
from training.data.cache import Cache
from training.data.dataset import Listing
from training.data.holdout import HoldoutSet
from training.data.source import Source


class FaceSource(Source):
    """The main faces of another source's pictures; a picture without one stays whole.

    Attributes:
        whole: Names of the pictures read so far in which no face was found.
    """

    def __init__(self, source: Source, detector: Detector, size: int, cache: Path) -> None:
        """Read from `source`, and give squares of `size` pixels a side.

        Args:
            source: Of whole pictures.
            detector: Asked once for each; where its face is is kept.
            size: Edge of what is read, in pixels.
            cache: Folder of the feature cache.
        """
        super().__init__(source.path)
        self._source = source
        self._detector = detector
        self._size = size
        self._cache = cache
        self.whole: set[str] = set()

    def names(self) -> list[str]:
        return self._source.names()

    def has(self, name: str) -> bool:
        return self._source.has(name)

    def read(self, name: str) -> bytes:
        """One picture's main face, as a BMP file.

        Raises:
            OSError: It cannot be read.
            PictureError: It is no picture that can be decoded.
            OutputError: The cache cannot be used.
        """
        data = self._source.read(name)
        picture = open_oriented(data)
        face = self._main_face(picture, hashlib.sha256(data).hexdigest())
        if face is None:
            self.whole.add(name)
        pixels = cut_face(picture, face, self._size)
        planes = [Image.fromarray(plane) for plane in pixels.numpy()]  # (3, S, S)
        file = io.BytesIO()
        Image.merge("RGB", planes).save(file, "BMP")
        return file.getvalue()

    def _main_face(self, picture: OrientedImage, sha256: str) -> Face | None:
        """Where a picture's face is: as it was found the first time."""
        key = f"face:{CROPPER}:{DECODER}:{sha256}"
        with Cache(self._cache) as cache:
            known = cache.get(key)
            if known is None:
                face = main_face(picture, self._detector)
                cache.put([(key, json.dumps(face and asdict(face)).encode())])
                return face
        found = json.loads(known)
        return found and Face(tuple(found["box"]), tuple(found["square"]), found["score"])


def crop_faces(
    listing: Listing, tests: dict[str, HoldoutSet], *, size: int, cache: Path
) -> FaceSource:
    """Put faces in the place of pictures, in a listing's copy and, in place, in test sets.

    Raises:
        DetectorUnavailable: There is no detector here.
    """
    detector = load_detector()
    for name, test in tests.items():
        tests[name] = replace(test, source=FaceSource(test.source, detector, size, cache))
    return FaceSource(listing.source, detector, size, cache)


def faceless(source: FaceSource, total: int) -> list[Finding]:
    """What the audit says of pictures without a face."""
    if not source.whole:
        return []
    names = tuple(sorted(source.whole))
    return [
        Finding(
            "warning",
            "no_face",
            f"No face was found in {len(names)} of {many(total)}: they are used whole, as the "
            "service will use such pictures. Leave out what shows no face.",
            names,
        )
    ]

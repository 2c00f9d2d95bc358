"""How the training pictures are framed: one face each, at about the same size, or otherwise.

Where nearly all are framed on one face, the model learns faces in this frame, and the service
frames the faces of other photographs in the same way: see `models.imaging.framing`.
"""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.bundle.manifest import FramingFacts
from models.errors import DetectorUnavailable
from models.imaging.decode import DECODER
from models.imaging.face_detector import Detector, load_detector
from models.imaging.faces import find_faces, longer_side, open_oriented
from models.imaging.framing import FRAMER, Framing, main_face_of
from training.config import FitConfig
from training.data.cache import Cache
from training.data.parallel import map_chunks_parallel
from training.evaluation.head import pick_evenly
from training.features.feature_set import FeatureSet

# A main face of a picture that is framed on it has about as many pixels in such a copy as the
# detector is best at.
_EDGE_PX: Final = 320
# Sizes within this factor of the median are about the same.
_SAME_SIZE_FACTOR: Final = 2.0
# Median length of the face, as a share of the picture, from which on pictures are framed on it.
_MIN_SIZE: Final = 0.2

_KEY_PREFIX: Final = f"framing:{FRAMER}:{_EDGE_PX}:{DECODER}:"
_PLACE_NUMBERS: Final = 5


@dataclass(frozen=True)
class LearntFraming:
    """What was found of the training pictures' framing.

    Attributes:
        searched: Number of pictures searched for faces.
        with_face: Number of these with a face.
        framed: Number of these whose main face has about the median size.
        size: Median length of the main face's longer side, as a share of the square root of the
            picture's area; None without faces.
        facts: Block `framing` of the manifest; None if pictures are not framed on one face each.
        unavailable: Reason why pictures were not searched, if they were not.
    """

    searched: int = 0
    with_face: int = 0
    framed: int = 0
    size: float | None = None
    facts: FramingFacts | None = None
    unavailable: str | None = None

    @property
    def sentence(self) -> str:
        """What was found, and what the service makes of it, for the log and the report."""
        if self.unavailable is not None:
            return f"How the pictures are framed was not looked at. {self.unavailable}"
        share = f"{self.framed} of {self.searched} pictures that were looked at"
        if self.facts is None:
            return (
                f"The pictures are not framed on one face each ({share} show one at about the same "
                "size, of which at least a fifth of the picture): each picture is answered whole."
            )
        return (
            f"The pictures are framed on one face each: in {share} it is at about the same size, "
            f"{self.size:.0%} of the picture. The service frames larger pictures in the same way "
            "where the whole is unfamiliar or uncertain."
        )

    def rule(self, below: float) -> Framing | None:
        """Return when and how pictures are framed; None if they stay whole.

        Args:
            below: Score below which an answer is `uncertain`.
        """
        if self.facts is None:
            return None
        return Framing(self.facts.margins, beyond=self.facts.beyond, below=below)

    def summary(self) -> dict[str, Any]:
        """Return block `framing` of summary.json."""
        return {
            "searched": self.searched,
            "with_face": self.with_face,
            "framed": self.framed,
            "size": self.size,
            "facts": self.facts and self.facts.model_dump(),
            "unavailable": self.unavailable,
            "sentence": self.sentence,
        }


def learn_framing(
    feature_set: FeatureSet,
    distances: NDArray[np.float64] | None,
    cache: Cache,
    config: FitConfig,
) -> LearntFraming:
    """Search training pictures for faces, and find out whether they are framed on one each.

    Args:
        feature_set: The n pictures.
        distances: (n,) distance of each picture from the others; None if the model measures none,
            and so cannot compare a framed face with the whole picture.
        cache: Keeps what was found, by content.
        config: Its `framing` block.

    Raises:
        ChangedData: A picture has another content than before, or none.
        OutputError: The cache cannot be used.
    """
    if distances is None:
        return LearntFraming(unavailable="The model does not measure how familiar a picture is.")
    try:
        detector = load_detector()
    except DetectorUnavailable as error:
        return LearntFraming(unavailable=str(error))
    chosen = pick_evenly(np.arange(len(feature_set.names)), config.framing_pictures).tolist()
    places = [
        place
        for chunk in map_chunks_parallel(
            chosen, lambda part: [_find_place(feature_set, i, detector, cache) for i in part]
        )
        for place in chunk
    ]
    found = np.array([place for place in places if place is not None]).reshape(-1, _PLACE_NUMBERS)
    if not len(found):
        return LearntFraming(searched=len(chosen))
    size = float(np.median(found[:, 0]))
    same = np.abs(np.log(found[:, 0] / size)) <= np.log(_SAME_SIZE_FACTOR)
    framed = int(same.sum())
    facts = None
    if size >= _MIN_SIZE and framed >= config.framing_share * len(chosen):
        left, top, right, bottom = np.median(found[same, 1:], axis=0).tolist()
        facts = FramingFacts(
            framer=FRAMER,
            searched=len(chosen),
            framed=framed,
            margins=(left, top, right, bottom),
            beyond=float(np.clip(np.quantile(distances, 1 - config.framing_looks), 0, 2)),
        )
    return LearntFraming(len(chosen), len(found), framed, size, facts)


def _find_place(
    feature_set: FeatureSet, index: int, detector: Detector, cache: Cache
) -> Sequence[float] | None:
    """Return the size of a picture's main face and its four margins, None without a face."""
    key = _KEY_PREFIX + feature_set.stats[index].sha256
    cached = cache.get(key)
    if cached is not None:
        with contextlib.suppress(ValueError, TypeError):
            known = json.loads(cached)
            if known is None:
                return None
            place = [float(number) for number in known]
            if len(place) == _PLACE_NUMBERS:
                return place
    picture = open_oriented(feature_set.read(index))
    main = main_face_of(find_faces(picture, detector, edges_px=(_EDGE_PX,)))
    found = None
    if main is not None:
        side = longer_side(main.box)
        left, top, right, bottom = main.box
        margins = (left, top, picture.width - right, picture.height - bottom)
        found = [side / (picture.width * picture.height) ** 0.5, *(m / side for m in margins)]
    cache.put([(key, json.dumps(found).encode())])
    return found

"""What single pictures may suffer from: too small, too dark, blurred, and so on.

Levels of what is "too dark" are absolute, and wide enough for any photograph that a person
would keep. Where more than `COMMON_SHARE` of a set lies beyond one, that is how these pictures
are (scans, microscopy, night cameras), and it is noted instead of warned about.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from training.audit.copies import is_blank
from training.data.image_stats import PictureFacts

TINY_PX: Final = 64
"""Shorter side: below it, a picture is blown up more than 3 times for an input of 224."""

HUGE_PIXELS: Final = 25_000_000
"""Above most phones' full resolution; decoding one takes a second and 100 MB, for 224 pixels."""

ODD_ASPECT: Final = 3.0
"""Longer by shorter side: the picture is squeezed to a square. Panoramas of 16:9 films have 2.4."""

DARK: Final = 0.1
BRIGHT: Final = 0.9
"""Mean luma; of 720 real photographs none was below 0.127 or above 0.866."""

DARK_LIGHTEST: Final = 0.5
BRIGHT_DARKEST: Final = 0.5
"""Luma that 99 % of the picture stay below, or above: a night scene with lit windows, or a thing
on white ground, has something to see and is neither dark nor bright."""

BLURRED: Final = 0.0025
"""Variance of the Laplacian by that of luma, so that light does not count. Half of 720 real
photographs have more than 0.03; 2 of them, really out of focus, have less than this."""

SHARP_PX: Final = 200
"""Shorter side from which blur is judged: a smaller picture is soft from being blown up to the
model's input, which is its size's fault. Size is reported by `tiny` and in the shortcuts."""

COMMON_SHARE: Final = 0.2
"""Share of the set beyond which an oddity is the set's nature."""


@dataclass(frozen=True)
class Oddity:
    """A kind of picture that is worth a look, and what to say of it.

    Attributes:
        kind: Stable name.
        level: Of the finding, unless the set is full of such.
        test: Whether a picture is one.
        what: Goes on after "12 pictures ", or "1 picture ".
        advice: A sentence.
    """

    kind: str
    level: str
    test: Callable[[PictureFacts], bool]
    what: str
    advice: str


def _edge(fact: PictureFacts) -> int:
    return min(fact.width_px, fact.height_px)


ODDITIES: Final = (
    Oddity(
        "blank",
        "warning",
        is_blank,
        "(almost) of one colour",
        "Remove them, for nothing can be learnt from them.",
    ),
    Oddity(
        "tiny",
        "warning",
        lambda fact: _edge(fact) < TINY_PX,
        f"less than {TINY_PX} pixels wide or high",
        "Replace them by larger ones, unless pictures in use will be as small.",
    ),
    Oddity(
        "huge",
        "info",
        lambda fact: fact.width_px * fact.height_px > HUGE_PIXELS,
        f"of more than {HUGE_PIXELS // 1_000_000} megapixels",
        "Shrink them to read the folder faster; the model sees no more of them.",
    ),
    Oddity(
        "odd_aspect",
        "warning",
        lambda fact: max(fact.width_px, fact.height_px) > ODD_ASPECT * _edge(fact),
        f"over {ODD_ASPECT:g} times as long as wide",
        "They are squeezed to a square: crop them to what matters.",
    ),
    Oddity(
        "dark",
        "warning",
        lambda fact: (
            fact.brightness < DARK and fact.lightest < DARK_LIGHTEST and not is_blank(fact)
        ),
        "very dark",
        "Check that a person could tell what they show.",
    ),
    Oddity(
        "bright",
        "warning",
        lambda fact: (
            fact.brightness > BRIGHT and fact.darkest > BRIGHT_DARKEST and not is_blank(fact)
        ),
        "very bright",
        "Check that a person could tell what they show.",
    ),
    Oddity(
        "blurred",
        "warning",
        lambda fact: (
            _edge(fact) >= SHARP_PX
            and not is_blank(fact)
            and fact.sharpness < BLURRED * fact.contrast**2
        ),
        "blurred",
        "Check that a person could tell what they show.",
    ),
    Oddity(
        "not_rgb",
        "info",
        lambda fact: fact.mode != "RGB",
        "stored in another mode than RGB",
        "They are converted, see-through parts over white; grey ones stay grey.",
    ),
)


def modes(facts: Sequence[PictureFacts]) -> dict[str, int]:
    """How many pictures are stored in each mode, the commonest first."""
    return dict(Counter(fact.mode for fact in facts).most_common())

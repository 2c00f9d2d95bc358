"""Findings on single pictures: blank, too small, too dark, blurred, and so on.

The limits are absolute, and wide enough for any photograph that a person would keep. If more
than `_COMMON_SHARE` of a set is beyond one, that is how these pictures are (scans, microscopy,
night cameras), and the finding is an info instead of a warning.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from training.audit.findings import Finding, plural
from training.data.image_stats import ImageStats

# Shorter side: below it, a picture is enlarged more than 3 times for an input of 224.
_MIN_EDGE_PX: Final = 64

# Above most phones' full resolution; decoding one takes a second and 100 MB, for 224 pixels.
_MAX_PIXELS: Final = 25_000_000

# Longer by shorter side, as the picture is squeezed to a square. 16:9 film panoramas have 2.4.
_MAX_ASPECT: Final = 3.0

# Mean luma; of 720 real photographs none was below 0.127 or above 0.866.
_MAX_BRIGHTNESS_OF_DARK: Final = 0.1
_MIN_BRIGHTNESS_OF_BRIGHT: Final = 0.9

# Luma that 99 % of the picture stay below, or above: a night scene with lit windows, or an object
# on white ground, has something to see and is neither dark nor bright.
_MAX_LIGHTEST_OF_DARK: Final = 0.5
_MIN_DARKEST_OF_BRIGHT: Final = 0.5

# Variance of the Laplacian by that of luma, so that light does not count. Half of 720 real
# photographs have more than 0.03; 2 of them, really out of focus, have less than this.
_MAX_RELATIVE_SHARPNESS_OF_BLURRED: Final = 0.0025

# Shorter side from which blur is checked: a smaller picture is soft because it is enlarged to the
# model's input. Size is reported by `tiny` and in the shortcuts.
_MIN_EDGE_PX_FOR_BLUR: Final = 200

# Share of the set beyond which a check describes the set's nature.
_COMMON_SHARE: Final = 0.2


@dataclass(frozen=True)
class Check:
    """A condition that makes a picture worth a look, and its message.

    Attributes:
        kind: Stable name.
        level: Level of the finding, unless it is common in the set.
        test: Predicate of the condition.
        description: Follows "12 pictures are " or "1 picture is ".
        advice: A sentence.
    """

    kind: str
    level: str
    test: Callable[[ImageStats], bool]
    description: str
    advice: str


def _shorter_px(stats: ImageStats) -> int:
    return min(stats.width_px, stats.height_px)


CHECKS: Final = (
    Check(
        "blank",
        "warning",
        lambda stats: stats.is_blank,
        "(almost) of one colour",
        "Remove them, because nothing can be learnt from them.",
    ),
    Check(
        "tiny",
        "warning",
        lambda stats: _shorter_px(stats) < _MIN_EDGE_PX,
        f"less than {_MIN_EDGE_PX} pixels wide or high",
        "Replace them by larger ones, unless pictures in use will be as small.",
    ),
    Check(
        "huge",
        "info",
        lambda stats: stats.width_px * stats.height_px > _MAX_PIXELS,
        f"of more than {_MAX_PIXELS // 1_000_000} megapixels",
        "Shrink them to read the folder faster; the model sees no more of them.",
    ),
    Check(
        "odd_aspect",
        "warning",
        lambda stats: max(stats.width_px, stats.height_px) > _MAX_ASPECT * _shorter_px(stats),
        f"over {_MAX_ASPECT:g} times as long as wide",
        "They are squeezed to a square: crop them to what matters.",
    ),
    Check(
        "dark",
        "warning",
        lambda stats: (
            stats.brightness < _MAX_BRIGHTNESS_OF_DARK
            and stats.lightest < _MAX_LIGHTEST_OF_DARK
            and not stats.is_blank
        ),
        "very dark",
        "Check that a person can recognise the subject.",
    ),
    Check(
        "bright",
        "warning",
        lambda stats: (
            stats.brightness > _MIN_BRIGHTNESS_OF_BRIGHT
            and stats.darkest > _MIN_DARKEST_OF_BRIGHT
            and not stats.is_blank
        ),
        "very bright",
        "Check that a person can recognise the subject.",
    ),
    Check(
        "blurred",
        "warning",
        lambda stats: (
            _shorter_px(stats) >= _MIN_EDGE_PX_FOR_BLUR
            and not stats.is_blank
            and stats.sharpness < _MAX_RELATIVE_SHARPNESS_OF_BLURRED * stats.contrast**2
        ),
        "blurred",
        "Check that a person can recognise the subject.",
    ),
    Check(
        "not_rgb",
        "info",
        lambda stats: stats.mode != "RGB",
        "stored in another mode than RGB",
        "They are converted, transparent parts over white; grey ones stay grey.",
    ),
)


def quality_findings(names: Sequence[str], stats: Sequence[ImageStats]) -> list[Finding]:
    """Report pictures that fail a check, one finding per check.

    Args:
        names: (n) file names.
        stats: (n) statistics.
    """
    found = []
    for check in CHECKS:
        indices = [index for index, one in enumerate(stats) if check.test(one)]
        if not indices:
            continue
        verb = "is" if len(indices) == 1 else "are"
        message = f"{plural(len(indices))} {verb} {check.description}. {check.advice}"
        level = check.level
        if len(indices) > _COMMON_SHARE * len(stats) and len(stats) >= 1 / _COMMON_SHARE:
            level = "info"
            message += " With this many of them, it may be how the set is."
        modes = Counter(stats[index].mode for index in indices)
        details = {"modes": dict(modes.most_common())} if check.kind == "not_rgb" else {}
        found.append(
            Finding(level, check.kind, message, tuple(names[i] for i in indices), details=details)
        )
    return found

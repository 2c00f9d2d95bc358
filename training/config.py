"""Every choice of the training job that is a number or a name, each with its reason."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

DEFAULT_BACKBONE: Final = "resnet50_thin"
DEFAULT_STORE: Final = Path("models/artifacts")


@dataclass(frozen=True)
class FitConfig:
    """Hyper-parameters of a run; recorded in the manifest.

    Attributes:
        backbone: Row of `training.backbones.BACKBONES`.
        seed: Of fold assignment and bootstrap; everything else is deterministic.
        folds: Cross-validation folds. 5 leaves 288 of 360 pictures to fit on.
        inner_folds: Folds inside each training part, on which the penalty is chosen.
        penalties: Inverse L2 strengths C tried, for features scaled to unit variance overall.
            Below 0.01 hard pictures were judged worse, above 3 the fit separates and only grows.
        min_pictures: Fewest readable pictures a class. Fewer cannot fill 5 folds twice.
        target_error: Wanted share of wrong answers among those given; the others are `uncertain`.
        draws: Draws behind each interval; 20,000 fix its ends to about 0.05 points.
        golden_pictures: Synthetic pictures with recorded answers; several, for each must be told
            from the next.
        golden_tolerance: Largest difference of a golden probability. Another CPU's fp32 rounding
            moves it by about 1e-5; a wrong preprocessing by far more.
    """

    backbone: str = DEFAULT_BACKBONE
    seed: int = 0
    folds: int = 5
    inner_folds: int = 3
    penalties: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    min_pictures: int = 10
    draws: int = 20_000
    target_error: float = 0.01
    golden_pictures: int = 4
    golden_tolerance: float = 1e-3

    def as_dict(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self) | {"penalties": list(self.penalties)}


# Pictures a forward pass of a lane: small, for each core runs a lane of its own.
EXTRACTION_BATCH: Final = 8

# Largest picture file that is read; a folder may hold a film called .jpg.
MAX_FILE_BYTES: Final = 200_000_000


def default_cache() -> Path:
    """Folder of the feature cache: FACEMASK_CACHE, or `facemask` in the user's cache folder."""
    if configured := os.environ.get("FACEMASK_CACHE"):
        return Path(configured)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "facemask"

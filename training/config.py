"""Hyper-parameters and limits of the training job, each with its reason."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from models.environment import read_variable
from training.errors import OutputError

DEFAULT_BACKBONE: Final = "resnet50_thin"

# Backbone by value of `--preset`: the same weights on smaller pictures, the default, two networks.
PRESETS: Final = {
    "fast": "resnet50_thin_160",
    "balanced": DEFAULT_BACKBONE,
    "accurate": "resnet50_thin_and_lite0",
}


@dataclass(frozen=True)
class FitConfig:
    """Hyper-parameters of a run; recorded in the manifest.

    Attributes:
        backbone: Row of `training.backbones.registry.BACKBONES`.
        seed: Seed of fold assignment and bootstrap; the rest is deterministic.
        folds: Cross-validation folds. 5 leave 288 of 360 pictures to fit on.
        inner_folds: Folds inside each training part, to choose the penalty on.
        penalties: Inverse L2 strengths C to try, for features scaled to unit variance overall.
            Below 0.01 hard pictures were classified worse, above 3 the fit separates the classes
            and its weights only grow.
        searched: Max pictures that the penalty is chosen on, spread evenly over all. The time of a
            fit grows with its pictures, and hundreds of fits are tried.
        min_pictures: Min readable pictures per class. Fewer cannot fill 5 folds twice.
        target_error: Target share of wrong answers among those given; the others are `uncertain`.
        draws: Draws behind each interval; 20,000 fix its ends to about 0.05 points.
        crop: `whole` pictures, or `faces`: the main face of each picture, in the service, too.
        precision: Number format: `fp32`, `int8`, or `auto`: int8 if it passes the next three.
        precision_loss: Balanced accuracy that int8 must be shown to lose less than, with 95 %
            confidence, on the same folds (`models.paired`). 178 independent pictures
            can show 1.5 points if none is answered differently; with fewer, fp32 is published.
        precision_noise: Max noise that quantisation may add, as a share of the features' variance
            between pictures. Folds without errors cannot show a loss; this can. 7-bit weights and
            8-bit activations add about 0.01, and sums that overflow more than half.
        precision_speedup: Min ratio of throughputs. Well below what int8 gives where it helps (1.7
            and more) and above what chance gives where it does not (0.9 to 1.1).
        robustness_pictures: Max pictures per class for `--robustness`, corrupted in 40 ways each.
            64 without an error still have an interval of 4 points; more are not worth their time.
        calibration_pictures: Max pictures that set the scales of activations and the rounding of
            weights in int8.
        views: Augmented copies of each picture to train the head on, too. What two gain depends on
            how they were drawn; four gain most of it.
        views_up_to: Max pictures to augment. A larger data set shows most of the variation itself,
            and its copies would cost minutes.
        familiarity_alarms: Share of ordinary pictures that may be called unfamiliar; augmented
            copies, where there are any, are half of them.
        familiarity_neighbours: k of the k-th nearest training picture whose distance counts: the
            nearest one alone may be odd itself.
        familiarity_references: Max training pictures that the model compares with; 512 cost 0.1 ms
            per picture and 6 MB.
        framing_pictures: Max training pictures that are searched for faces, to learn how they are
            framed.
        framing_share: Share of them that must show one face at about the same size.
        framing_looks: Share of the training pictures that are as far from the others as those in
            which the service looks for a face.
        golden_pictures: Synthetic pictures with recorded answers; several, so that a model that
            mixes up pictures is found.
        golden_tolerance: Max difference of a golden probability. Another CPU's fp32 rounding moves
            it by about 1e-5; a wrong preprocessing by far more.
        golden_tolerance_int8: The same of an int8 model. Without AVX-512 oneDNN rounds at other
            places, which moved these least certain answers by 0.03 and their map by 0.06 (AVX2);
            sums that overflow move them by several times that.
    """

    backbone: str = DEFAULT_BACKBONE
    seed: int = 0
    folds: int = 5
    inner_folds: int = 3
    penalties: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    searched: int = 1000
    min_pictures: int = 10
    draws: int = 20_000
    target_error: float = 0.01
    views: int = 4
    views_up_to: int = 4000
    familiarity_alarms: float = 0.015
    familiarity_neighbours: int = 5
    familiarity_references: int = 512
    framing_pictures: int = 200
    framing_share: float = 0.8
    framing_looks: float = 0.05
    golden_pictures: int = 4
    golden_tolerance: float = 1e-3
    golden_tolerance_int8: float = 0.1
    crop: Literal["whole", "faces"] = "whole"
    precision: Literal["auto", "fp32", "int8"] = "auto"
    precision_loss: float = 0.015
    precision_noise: float = 0.1
    precision_speedup: float = 1.2
    calibration_pictures: int = 96
    robustness_pictures: int = 64


# Pictures per forward pass of a worker thread; small, because each core runs one thread.
EXTRACTION_BATCH: Final = 8

# Largest picture file that is read; a folder may hold a video called .jpg.
MAX_FILE_BYTES: Final = 200_000_000


def default_cache() -> Path:
    """Return FACEMASK_CACHE, or `facemask` in the user's cache folder.

    Raises:
        OutputError: The user has no home folder.
    """
    if configured := read_variable("FACEMASK_CACHE"):
        return Path(configured)
    if caches := read_variable("XDG_CACHE_HOME"):
        return Path(caches) / "facemask"
    try:
        return Path.home() / ".cache" / "facemask"
    except RuntimeError as error:
        raise OutputError(
            "There is no home folder to keep the cache in: give --cache FOLDER, or set "
            "FACEMASK_CACHE."
        ) from error

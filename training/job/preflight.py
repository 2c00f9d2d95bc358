"""Check of a run's outputs before its work: rights, and room on the disks."""

from typing import Final

from training.backbones.registry import LoadedBackbone
from training.config import FitConfig
from training.job.options import FitOptions
from training.publish.outputs import check_folder, check_space

_FLOAT_BYTES: Final = 4
_DOCUMENTS_BYTES: Final = 30_000_000  # report with its pictures, card, summary


def check_output_folders(options: FitOptions) -> None:
    """Raise unless the store, the cache and the folder of checkpoints can be written to.

    Raises:
        OutputError: One of them cannot.
    """
    check_folder(options.store, "the store to publish in")
    check_folder(options.cache, "the cache")
    if options.finetune is not None and options.checkpoint is not None:
        check_folder(options.checkpoint, "the folder of checkpoints")


def check_free_space(
    options: FitOptions, config: FitConfig, backbone: LoadedBackbone, *, num_pictures: int
) -> None:
    """Raise if the store's disk has no room for the bundle, or the cache's for the features.

    Features that are cached already are counted only once: a run maps all of them into memory
    from a file beside the cache.

    Raises:
        OutputError: A disk is too full.
    """
    weights = sum(parameter.numel() for parameter in backbone.network.parameters())
    check_space(options.store, weights * _FLOAT_BYTES + _DOCUMENTS_BYTES, "the store to publish in")
    copies = config.views if num_pictures <= config.views_up_to else 0
    features = num_pictures * backbone.spec.pooled_width * _FLOAT_BYTES * (1 + copies)
    check_space(options.cache, features, "the cache")

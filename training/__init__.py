"""The training job: a folder of pictures in, a checksummed bundle out.

`training.fit` trains from a notebook or a program: see `training.notebook`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.notebook import fit

__all__ = ["fit"]


def __getattr__(name: str) -> Any:
    """Return `fit`, which is imported on first use."""
    if name != "fit":
        raise AttributeError(f"module 'training' has no attribute {name!r}")
    from training.notebook import fit

    return fit

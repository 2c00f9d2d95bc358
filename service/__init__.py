"""The FastAPI microservice: pictures in, predictions out.

`service.load` loads a model for answers without HTTP: see `service.inference.local`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from service.inference.local import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    """Return `load`, which is imported on first use."""
    if name != "load":
        raise AttributeError(f"module 'service' has no attribute {name!r}")
    from service.inference.local import load

    return load

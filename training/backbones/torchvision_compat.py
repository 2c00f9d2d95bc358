"""Import of torchvision that also works where its compiled operators do not load.

PyPI's Linux wheel of torchvision is compiled for CUDA. Beside a CPU build of torch its
operators cannot be loaded, and `import torchvision` fails with "operator torchvision::nms does
not exist" while it declares a shape rule for a missing operator. Models and transforms use none
of these operators, so declaring the two names is enough. If torchvision imports as it is,
nothing is declared.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

import torch

# Keeps the declarations alive: torch drops them with the object.
_declared: list[Any] = []


def torchvision() -> ModuleType:
    """Import torchvision; declare its two missing operators only if the import fails without."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]  # partly imported
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        library.define(  # type: ignore[no-untyped-call]
            f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
    _declared.append(library)
    return importlib.import_module("torchvision")

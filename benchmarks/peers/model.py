"""Shared parts of all peers: the TorchScript file, and the preprocessing of tutorials.

Resize to the input, scale to 0..1, subtract ImageNet's mean and divide by its deviation: what
torchvision's `Resize`, `ToTensor` and `Normalize` do to a Pillow image, without torchvision,
whose PyPI wheel does not load beside a CPU build of torch.
"""

import os
import warnings

import numpy as np
import torch
from PIL import Image

_SIZE_PX = 224
_MEAN = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)
_STD = torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)
_LABELS = ("mask", "no_mask")


def load_model() -> torch.jit.ScriptModule:
    """Load the model named by PEER_MODEL, with PEER_THREADS threads per forward pass."""
    torch.set_num_threads(int(os.environ["PEER_THREADS"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        model: torch.jit.ScriptModule = torch.jit.load(  # type: ignore[no-untyped-call]
            os.environ["PEER_MODEL"]
        )
    return model.eval()


def preprocess(picture: Image.Image) -> torch.Tensor:
    """Convert a picture to float32 (3, 224, 224)."""
    small = picture.convert("RGB").resize((_SIZE_PX, _SIZE_PX), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1).float().div(255)
    return (pixels - _MEAN) / _STD


def label(probabilities: torch.Tensor) -> dict[str, object]:
    """Return the answer for one picture, from (K,) probabilities."""
    best = int(probabilities.argmax())
    return {"label": _LABELS[best], "score": float(probabilities[best])}

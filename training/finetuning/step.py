"""Where fine-tuning computes, and in a way that gives the same bytes again."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from models.cpu import usable_cores


def choose_device() -> torch.device:
    """A GPU where PyTorch can use one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def half_precision(device: torch.device) -> torch.dtype | None:
    """What training computes in on a device, weights and sums aside; None is float32 throughout.

    bfloat16 where the GPU has it: float16 ends at 65,504, which backbones fed with pixels of
    0..255 come near, and needs its gradients scaled.
    """
    if device.type != "cuda":
        return None  # on most CPUs it is slower
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Fix what can make two equal runs differ: kernels that race, and the number of threads."""
    threads = torch.get_num_threads()
    strict = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    tuning = torch.backends.cudnn.benchmark
    if device.type == "cuda":  # cuBLAS asks for it, before its first call
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with warnings.catch_warnings():
        # A few CUDA kernels have no deterministic twin; a run there is still a good run.
        warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
        torch.set_num_threads(usable_cores())
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(strict, warn_only=only_warns)
            torch.backends.cudnn.benchmark = tuning
            torch.set_num_threads(threads)

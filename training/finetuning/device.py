"""Device and precision of fine-tuning, and settings that make runs repeatable to the byte."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from training.finetuning import team


def choose_device() -> torch.device:
    """Return the GPU if PyTorch can use one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", team.local_rank() % torch.cuda.device_count())
    return torch.device("cpu")


def half_precision(device: torch.device) -> torch.dtype | None:
    """Return the type of autocast operations on a device; None for float32 throughout.

    bfloat16 where the GPU has it: float16 ends at 65,504, which backbones that take pixels of
    0..255 come near, and its gradients need scaling.
    """
    if device.type != "cuda":
        return None  # on most CPUs it is slower
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Use deterministic kernels and a fixed number of threads, and restore the settings after."""
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    if device.type == "cuda":  # cuBLAS reads it before its first call
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with warnings.catch_warnings():
        # A few CUDA kernels have no deterministic version: such a run is still a good run.
        warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
        torch.set_num_threads(team.cores())
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
            torch.backends.cudnn.benchmark = benchmark
            torch.set_num_threads(threads)

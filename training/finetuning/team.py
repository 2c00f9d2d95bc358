"""Processes that `torchrun` starts for one fine-tuning: rank 0 runs the job, the others help it.

Rank 0 reads, evaluates, decides and writes. The others wait for its messages, of which each repeats
one call on the run: build it, restore a state, train an epoch. Each process computes the gradients
of its share of every batch, so that neither a batch nor a random draw depends on their number.

Without `torchrun` there is one process, and all functions do nothing or return their argument.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from models.cpu import usable_cores
from models.errors import FacemaskError

# Rank 0 extracts features for hours before the first message. A process that dies closes its
# connections, which ends the wait; torchrun watches for machines that vanish.
_TIMEOUT: Final = timedelta(days=7)

_CONNECT: Final = timedelta(seconds=2)
_PORT_KEY: Final = "facemask/port"


def is_restart() -> bool:
    """Return True if torchrun started the processes again after one was lost."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def size() -> int:
    """Return the number of processes that have joined."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, 0 for the one that runs the job."""
    return dist.get_rank() if dist.is_initialized() else 0


def local_rank() -> int:
    """Return the number of this process on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0")) if size() > 1 else 0


def cores() -> int:
    """Return the cores for this process: its share of those that the machine's processes have."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if size() > 1 else 1
    return max(1, usable_cores() // here)


def own_share(items: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return this process's share of a batch; together the shares are the batch."""
    return items[rank() :: size()]


def total(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add the arrays of all processes, in place, and return the sum."""
    if size() > 1:
        dist.all_reduce(torch.from_numpy(array))
    return array


def with_summed_gradients(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return the model's forward pass, after whose backward pass gradients are means over all."""
    return DistributedDataParallel(model, forward_sync_buffers=False) if size() > 1 else model


def send(message: Any) -> None:
    """Send a message of rank 0 to the other processes."""
    if size() > 1:
        dist.broadcast_object_list([message])


def receive() -> Any:
    """Return the next message of rank 0; None once it is done."""
    message = [None]
    dist.broadcast_object_list(message)
    return message[0]


def run_in_team(job: Callable[[], int], helper: Callable[[], None]) -> int:
    """Join the processes; run the job in rank 0 and the helper in the others.

    Returns:
        The job's exit status; 0 in the others.
    """
    is_first = os.environ.get("RANK") == "0"
    if not is_first:
        # Python's handlers wait until a call of gloo returns; these processes own nothing.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    store = (
        _own_store(is_first) if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" else None
    )
    dist.init_process_group(
        "gloo",
        store=store,
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
        timeout=_TIMEOUT,
    )
    try:
        if not is_first:
            helper()
            return 0
        try:
            status = job()
        except FacemaskError:
            with contextlib.suppress(RuntimeError):  # a process is lost, too
                send(None)
            raise
        send(None)
        return status
    finally:
        dist.destroy_process_group()


def _own_store(is_first: bool) -> Any:
    """Return a store that rank 0 opens, and whose port it leaves in torchrun's store.

    torchrun's store outlives the processes: after a restart it still has the addresses of the old
    ones, which those of the new ones would be connected with (pytorch#135712). The port may be of
    the old rank 0, too, but nobody listens there any more.
    """
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    open_store: Any = dist.TCPStore  # type: ignore[attr-defined]
    shared = open_store(host, port, is_master=False, timeout=_TIMEOUT)
    if is_first:
        own = open_store(host, 0, is_master=True, wait_for_workers=False, timeout=_TIMEOUT)
        shared.set(_PORT_KEY, str(own.port))
        return own
    while True:
        try:
            return open_store(host, int(shared.get(_PORT_KEY)), is_master=False, timeout=_CONNECT)
        except dist.DistError:
            time.sleep(0.1)

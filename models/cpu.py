"""CPU cores available to this process."""

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def usable_cores(cgroup: Path = _CGROUP) -> int:
    """Return the cores that affinity and the container's quota allow, at least 1.

    PyTorch counts the machine's cores and ignores the quota: in a container of one CPU on a
    machine of 64 it would run 64 threads.

    Args:
        cgroup: Mount point of control groups (version 2, or version 1's `cpu` controller).
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _quota(cgroup)
    # Rounded up: two threads that sometimes wait use 1.5 CPUs better than one.
    return max(1, min(cores or 1, -(-quota[0] // quota[1]) if quota else cores or 1))


def _quota(cgroup: Path) -> tuple[int, int] | None:
    """Return the CPU time allowed per period, and the period, both in microseconds."""
    try:
        if (cgroup / "cpu.max").exists():
            allowed, period = (cgroup / "cpu.max").read_text().split()
        else:
            allowed = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        return (int(allowed), int(period)) if int(allowed) > 0 and int(period) > 0 else None
    except (OSError, ValueError):  # no control groups, or "max"
        return None

"""How many CPUs this process may really use, and how they are shared between decoding, inference and the rest."""

import contextlib
import math
import os
import sys
import threading
from pathlib import Path

__all__ = ["WORTH_DIVIDING_S", "decode_threads", "give_way", "inference_threads", "runners", "usable_cpus"]

WORTH_DIVIDING_S = 0.001
"""A lone item that takes less is not divided between CPUs: waking more threads costs more than they win."""

_NICER_BY = 10
_CGROUP = Path("/sys/fs/cgroup")


def usable_cpus(cgroup: Path = _CGROUP) -> int:
    """Counts the CPUs that affinity and the container's quota allow, rounded up; at least 1.

    Args:
        cgroup: Where the control group of this process is mounted (version 1 or 2).
    """
    quota = _quota(cgroup)
    return max(1, min(_affinity(), math.ceil(quota) if quota else _affinity()))


def runners(cpus: int) -> int:
    """How many batches run at a time: two where there are two CPUs, so that one is prepared while another runs."""
    return min(2, cpus)


def inference_threads(cpus: int) -> int:
    """The threads of one run when others run beside it: an equal part of the CPUs."""
    return max(1, cpus // runners(cpus))


def decode_threads(cpus: int) -> int:
    """The threads that decode images: what one run leaves, because decoding a photo costs about as much."""
    return max(1, cpus - inference_threads(cpus))


def give_way() -> None:
    """Has the calling thread give way to others of this process that want the CPU.

    For those that compute without end: a loop that answers and refuses requests beside them would get no more of the
    CPU than each of them, and what arrives would wait for it. Only Linux has priorities of single threads.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a sandbox may forbid it, and nothing depends on it
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICER_BY)


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota(cgroup: Path) -> float | None:
    """CPUs the quota allows; None when there is none."""
    if (version2 := _read(cgroup / "cpu.max")) is not None:
        quota, _, period = version2.partition(" ")
    else:
        quota = _read(cgroup / "cpu" / "cpu.cfs_quota_us") or ""
        period = _read(cgroup / "cpu" / "cpu.cfs_period_us") or ""
    if not (quota.isdecimal() and period.isdecimal() and int(period)):  # "max" and "-1" mean no quota
        return None
    return int(quota) / int(period) or None


def _read(file: Path) -> str | None:
    try:
        return file.read_text().strip()
    except OSError:
        return None

"""What of this machine the process may use: in a container or a batch job that is less than the machine has."""

import ctypes
import hashlib
import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path

_CGROUPS, _OWN_CGROUP, _CPU_INFO = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"), Path("/proc/cpuinfo")


def usable_cores() -> int:
    """CPU cores for this process: those it is bound to, and no more than its control group's share, rounded up."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux has it, macOS and Windows have not
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(cores, *(math.ceil(share) for share in _cpu_shares()), cores))


def usable_memory() -> int | None:
    """Bytes of memory for this process: the machine's, or its control group's limit; None where it cannot be told."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows
        return None
    limits = _values("memory.max", "memory", "memory.limit_in_bytes")
    return min(total, *(int(limit) for limit in limits if limit.isdecimal()), total)


def give_back_memory() -> None:
    """Memory that was freed goes back to the system; glibc keeps hundreds of MB behind a compiler. Else nothing."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library, macOS, Windows
        return
    trim(0)


def cpu_kind() -> str:
    """A name for the machine's kind of CPU: programs that are compiled for one kind may not run on another."""
    said = [platform.machine(), platform.processor()]
    for line in _text(_CPU_INFO).splitlines():
        # Model and features of the first core; the rest, such as its clock, changes.
        key, _, value = (part.strip() for part in line.partition(":"))
        if key in ("model name", "flags", "Features", "CPU implementer", "CPU part"):
            said.append(value)
        elif not line.strip():
            break
    digest = hashlib.sha256("\n".join(said).encode()).hexdigest()[:12]
    return f"{platform.machine() or 'cpu'}-{digest}"


def _cpu_shares() -> Iterator[float]:
    for limit in _values("cpu.max", "cpu", "cpu.cfs_quota_us"):  # "200000 100000", or "max 100000"
        quota, _, period = limit.partition(" ")
        period = period or next(iter(_values("", "cpu", "cpu.cfs_period_us")), "100000")
        if quota.isdecimal() and period.isdecimal() and int(quota) and int(period):
            yield int(quota) / int(period)


def _values(name: str, controller: str, name_1: str) -> Iterator[str]:
    """What the process's control groups say, from its own up to the root: a limit of each counts.

    Args:
        name: the file in version 2 of control groups; "" for none.
        controller, name_1: the controller and the file in version 1.
    """
    for line in _text(_OWN_CGROUP).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, own = rest.partition(":")
        if number == "0" and name:
            root, file = _CGROUPS, name
        elif controller in controllers.split(","):
            root, file = _CGROUPS / controller, name_1
        else:
            continue
        folder = root / own.lstrip("/")
        # A container may see its group as the root while its path is the host's.
        for at in (folder, *folder.parents):
            text = _text(at / file)
            if text:
                yield text.strip()
            if at == root:
                break


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

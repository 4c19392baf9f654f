"""How much memory this host has, and how much of it could be used without swapping: asked anew each time.

Where our own control group (a container's, a unit's) may use less than the host has, the less counts.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lambent.sandbox.launcher.cgroups import own_memory_groups
from lambent.sandbox.launcher.kernel import read_file

MIB: Final = 1 << 20
_MEMINFO: Final = "/proc/meminfo"
_PRESSURE: Final = "/proc/pressure/memory"
# Names of (limit, use, page cache that is given back first) by version of cgroups.
_FILES: Final[Mapping[int, tuple[str, str, str]]] = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}
# v1 writes a number near 2^63 for no limit.
_NO_LIMIT_BYTES: Final = 1 << 60


@dataclass(frozen=True, slots=True)
class MemoryReading:
    """The memory of a host at one moment. What is not known does not limit."""

    total_mib: int = 1 << 40
    available_mib: int = 1 << 40
    stalled_percent: float = 0.0  # of the last ten seconds, some task waited for memory; 0 where the kernel keeps none


class HostMemory:
    """Reads the kernel's files. One of a process; each reading takes some tens of microseconds."""

    def __init__(self) -> None:
        version, folders = own_memory_groups()
        # Only root of a host changes the limits above us, seldom: which groups have one is found once.
        self._groups = [(version, folder) for folder in folders if _limit_bytes(version, folder) is not None]

    def read(self) -> MemoryReading:
        """Return the memory now."""
        lines = read_file(_MEMINFO)
        total_mib, available_mib = (
            int(lines.partition(name)[2].split(None, 1)[0]) >> 10 for name in ("MemTotal:", "MemAvailable:")
        )
        for version, folder in self._groups:
            if (limit_bytes := _limit_bytes(version, folder)) is not None:
                total_mib = min(total_mib, limit_bytes // MIB)
                available_mib = min(available_mib, max(0, limit_bytes - _used_bytes(version, folder)) // MIB)
        return MemoryReading(total_mib, available_mib, _stalled_percent())


def _limit_bytes(version: int, folder: str) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        limit = int(read_file(f"{folder}/{_FILES[version][0]}"))
        return limit if limit < _NO_LIMIT_BYTES else None
    return None


def _used_bytes(version: int, folder: str) -> int:
    _, usage, cache = _FILES[version]
    with contextlib.suppress(OSError, ValueError):
        lines = read_file(f"{folder}/memory.stat").splitlines()
        cached = next((int(line.split()[1]) for line in lines if line.split()[0] == cache), 0)
        return int(read_file(f"{folder}/{usage}")) - cached
    return 0


def _stalled_percent() -> float:
    # Linux, "PSI": the first line is `some avg10=0.00 avg60=… …`.
    with contextlib.suppress(OSError, ValueError, IndexError):
        return float(read_file(_PRESSURE).partition("avg10=")[2].split(None, 1)[0])
    return 0.0


def default_budget_mib(reading: MemoryReading) -> int:
    """Return what functions may use together where no setting says it: three quarters."""
    return reading.total_mib * 3 // 4


def default_reserve_mib(reading: MemoryReading) -> int:
    """Return what has to stay available, or nothing more is started: a sixteenth, for the page cache and the host."""
    return reading.total_mib // 16

"""What a server may do with a sandbox's cgroup without asking the launcher: freeze, thaw, see what memory it holds.

The launcher opened these files, one descriptor each, and sent them when it made the sandbox. A thaw is on the road of
an invocation, and the launcher has longer work than that.
"""

import errno
import os
from collections.abc import Mapping
from typing import Final

from lambent.model.errors import HostError, Refused
from lambent.sandbox.launcher.cgroups import held_bytes

# By name in the launcher's protocol: what orders processes to stand, and to go on.
_FREEZERS: Final[Mapping[str, tuple[bytes, bytes]]] = {
    "freezer.v1": (b"FROZEN", b"THAWED"),
    "freezer.v2": (b"1", b"0"),
}
_READ_BYTES: Final = 16_384  # memory.stat has some 60 lines


class Controls:
    """The descriptors of one sandbox, by their names in the protocol. Owns them until ``close``."""

    def __init__(self, descriptors: Mapping[str, int]) -> None:
        self._descriptors = dict(descriptors)
        name = next((name for name in _FREEZERS if name in descriptors), None)
        self._freezer = -1 if name is None else descriptors[name]
        self._freeze, self._thaw = _FREEZERS.get(name or "", (b"", b""))

    def freeze(self) -> None:
        """Order every process to stand. Refused where the launcher sent no freezer, HostError if the kernel refuses."""
        if self._freezer < 0:
            raise Refused("freeze", "the launcher has no freezer for this sandbox", "see lambent doctor")
        self._write(self._freeze)

    def thaw(self) -> None:
        """Let every process go on. HostError if the kernel refuses; nothing if the group is gone, and all with it."""
        if self._freezer >= 0:
            self._write(self._thaw)

    def held_memory_bytes(self) -> int | None:
        """Return the anonymous and kernel memory of the group now; None where that is not known."""
        if (stat := self._read("memory.stat")) is None:
            return None
        return held_bytes(stat) + int(self._read("memory.kernel") or 0)

    def close(self) -> None:
        """Close all."""
        self._freezer = -1
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def _write(self, order: bytes) -> None:
        try:
            os.write(self._freezer, order)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise HostError(f"{order.decode()} to the freezer: {error}") from error

    def _read(self, name: str) -> str | None:
        descriptor = self._descriptors.get(name)
        if descriptor is None:
            return None
        try:
            return os.pread(descriptor, _READ_BYTES, 0).decode()
        except OSError:  # the group is gone
            return None

"""What of one server this host still has: processes, mounts, control groups, loop devices, namespaces, files."""

import contextlib
import os
import time
import zlib
from pathlib import Path

WAIT_S = 10.0


class Leftovers:
    """Looks for what belongs to the server of one state directory, whoever else runs one meanwhile."""

    def __init__(self, server) -> None:
        self._state_dir = str(server.state_dir)
        self._run_dir = server.run_dir
        # The launcher names all that it makes after its run directory.
        self._instance = f"{zlib.crc32(os.fsencode(os.path.realpath(server.run_dir / 'sandboxes'))):08x}"
        self._seen: dict[int, str] = {}
        self._networks: dict[str, int] = {}  # and when each was last seen: the kernel uses their numbers again

    def look(self, server) -> dict[str, int]:
        """Remember what runs now; return how much of each kind that is, of whatever was seen so far."""
        self.remember(server)
        return {"processes": len(self._seen), "networks": len(self._networks), **self._counts()}

    def remember(self, server) -> None:
        """Remember what runs now."""
        host = os.readlink("/proc/self/ns/net")
        for pid, _ in server.processes():
            with contextlib.suppress(OSError):
                if birth := _birth(pid):
                    self._seen[pid] = birth
                    self._networks[os.readlink(f"/proc/{pid}/ns/net")] = _ticks_now()
        self._networks.pop(host, None)

    def _counts(self) -> dict[str, int]:
        return {"cgroups": len(self.cgroups()), "loops": len(self.loops())}

    def processes(self) -> list[str]:
        """Return what still lives of all that was ever seen, or bears the server's name."""
        alive = [f"{pid}" for pid in self.living()]
        for pid, line in _command_lines():
            if pid != os.getpid() and (self._instance in line or self._state_dir in line):
                alive.append(f"{pid} {line[:100]}")
        return alive

    def mounts(self) -> list[str]:
        """Return mounts of the host that name the server's places."""
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [line for line in lines if self._instance in line or self._state_dir in line]

    def cgroups(self) -> list[str]:
        """Return control groups with the launcher's name."""
        folders = os.walk("/sys/fs/cgroup")  # which passes over what others remove meanwhile
        return [f"{folder}/{name}" for folder, names, _ in folders for name in names if self._instance in name]

    def loops(self) -> list[str]:
        """Return loop devices on the launcher's images."""
        found = []
        for path in Path("/sys/block").glob("loop*/loop/backing_file"):
            with contextlib.suppress(OSError):
                if self._instance in (text := path.read_text()) or self._state_dir in text:
                    found.append(text.strip())
        return found

    def networks(self) -> list[str]:
        """Return network namespaces of the server that a process from before it was last seen still holds."""
        held = set()
        for path in Path("/proc").glob("[0-9]*/ns/net"):
            with contextlib.suppress(OSError):
                seen_at = self._networks.get(network := os.readlink(path), 0)
                if 0 < int(_birth(int(path.parts[2])) or seen_at + 1) <= seen_at:
                    held.add(network)
        return sorted(held)

    def files(self) -> list[str]:
        """Return the files that only a living server may have."""
        kept = {"lambent.log", "lambent.pid", "settings.json", "launcher.lock"}
        found = [path for path in self._run_dir.rglob("*") if not path.is_dir() and path.name not in kept]
        return [str(path) for path in [*found, *Path(self._state_dir).glob("tmp/*")] if path.exists()]

    def living(self) -> list[int]:
        """Return which of all remembered processes live."""
        return [pid for pid, birth in self._seen.items() if _birth(pid) == birth]

    def all(self) -> dict[str, list[str]]:
        """Return everything that is left, once nothing is or the wait is over."""
        give_up_at = time.monotonic() + WAIT_S
        while True:
            kinds = ("processes", "mounts", "cgroups", "loops", "networks", "files")
            left = {kind: found for kind in kinds if (found := getattr(self, kind)())}
            if not left or time.monotonic() > give_up_at:
                return left
            time.sleep(0.05)


def _birth(pid: int) -> str:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    except OSError:
        return ""


def _ticks_now() -> int:
    """Return the time since the start of the host in the unit of a process's start time."""
    return int(float(Path("/proc/uptime").read_text().split()[0]) * os.sysconf("SC_CLK_TCK"))


def _command_lines():
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield int(path.parent.name), path.read_bytes().replace(b"\0", b" ").decode(errors="replace")

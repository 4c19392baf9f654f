"""Finds the interpreters of this host, by asking them what they are. Blocking; runs in a thread."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lambent.runtimes.commands import CommandFailed, Stop, run_command

_PROBE_LIMIT_S: Final = 15.0
# What a whole installation has is imported, so that a crippled one is passed over.
_PYTHON_PROBE: Final = """
import json, os, platform, sys, sysconfig
import ctypes, hashlib, socket, ssl, zlib
print(json.dumps({
    "version": platform.python_version(),
    "executable": os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable),
    "prefix": sys.base_prefix,
    "machine": platform.machine(),
    "is_usual": sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED"),
}))
"""
_NODE_PROBE: Final = """
console.log(JSON.stringify({
    version: process.versions.node,
    executable: require("fs").realpathSync(process.execPath),
    prefix: require("path").dirname(require("path").dirname(process.execPath)),
    machine: {x64: "x86_64", arm64: "aarch64"}[process.arch] || process.arch,
    is_usual: true,
}))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """An interpreter that runs here."""

    name: str  # python3.12, nodejs22
    version: str  # 3.12.1
    executable: Path  # no link
    prefix: Path
    machine: str  # x86_64, aarch64

    @property
    def is_of_the_system(self) -> bool:
        """Whether every sandbox sees it, because it belongs to the host's /usr."""
        return self.prefix.is_relative_to("/usr") and self.executable.is_relative_to("/usr")


class InterpreterSearch:
    """Looks where interpreters usually are. ``configured`` (name → executable or prefix) comes first."""

    def __init__(self, configured: Mapping[str, Path], host_environ: Mapping[str, str]) -> None:
        self._configured = configured
        self._path = [Path(each) for each in host_environ.get("PATH", "").split(":") if each.startswith("/")]
        self._home = Path(host_environ.get("HOME") or "/nonexistent")
        self._environ = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self._home)}

    def find(self, name: str, stop: Stop) -> Interpreter | None:
        """Return the first interpreter that is exactly what ``name`` says, or None."""
        seen: set[Path] = set()
        for candidate in self._candidates(name):
            if not _is_file(candidate) or (real := candidate.resolve()) in seen:
                continue
            seen.add(real)
            if (found := self._probe(name, candidate, stop)) is not None:
                return found
        return None

    def find_program(self, *names: str) -> Path | None:
        """Return the first of ``names`` on the host's PATH."""
        folders = [*self._path, Path("/usr/local/bin"), Path("/usr/bin"), self._home / ".local/bin"]
        return next((path for name in names for folder in folders if _is_file(path := folder / name)), None)

    def _candidates(self, name: str) -> Iterator[Path]:
        program, places = _usual_places(name, self._home)
        if (configured := self._configured.get(name)) is not None:
            yield configured
            yield configured / "bin" / program
            if not program.startswith("node"):
                yield configured / "bin" / "python3"
        # Those of the system first: every sandbox sees /usr, so they need no copy and are mended with the system.
        yield from (folder / program for folder in (Path("/usr/local/bin"), Path("/usr/bin"), *self._path))
        for folder, pattern in places:
            yield from sorted(folder.glob(pattern), reverse=True)

    def _probe(self, name: str, candidate: Path, stop: Stop) -> Interpreter | None:
        argv = ["-I", "-c", _PYTHON_PROBE] if name.startswith("python") else ["-e", _NODE_PROBE]
        environ = {**self._environ, "LD_LIBRARY_PATH": str(candidate.parent.parent / "lib")}
        try:
            text = run_command([str(candidate), *argv], environ, cwd=Path("/"), limit_s=_PROBE_LIMIT_S, stop=stop)
            answer = json.loads(text)
            found = Interpreter(
                name, answer["version"], Path(answer["executable"]), Path(answer["prefix"]), answer["machine"]
            )
        except (CommandFailed, ValueError, KeyError, TypeError):
            return None  # a broken installation, or a shim for another version
        wanted = name.removeprefix("python").removeprefix("nodejs")
        return found if answer["is_usual"] and f"{found.version}.".startswith(f"{wanted}.") else None


def _usual_places(name: str, home: Path) -> tuple[str, Sequence[tuple[Path, str]]]:
    """Return the program's file name and where version tools keep it, as (folder, pattern)."""
    if name.startswith("python"):
        version = name.removeprefix("python")
        return name, [
            (home / ".pyenv/versions", f"{version}.*/bin/{name}"),
            (home / ".local/share/uv/python", f"cpython-{version}.*/bin/{name}"),
            (Path("/opt"), f"python*/bin/{name}"),
        ]
    major = name.removeprefix("nodejs")
    return "node", [
        (home / ".nvm/versions/node", f"v{major}.*/bin/node"),
        (home / ".volta/tools/image/node", f"{major}.*/bin/node"),
        (Path("/opt"), "node*/bin/node"),
    ]


def _is_file(path: Path) -> bool:
    """Whether ``path`` is a file that we may look at: folders of other users on our PATH are none of our business."""
    try:
        return path.is_file()
    except OSError:
        return False

"""For tests of sandboxes: roots that every kernel user id may read, a launcher as root or as an ordinary user."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lambent.sandbox.bubblewrap import open_launcher
from lambent.sandbox.launcher_client import LauncherClient, launcher_command

TEST_USER: Final = "lambent-test"
SYSTEM_PYTHON: Final = "/usr/bin/python3"


@dataclass(frozen=True, slots=True)
class Roots:
    """A launcher's directories, in one place."""

    place: Path

    @property
    def code(self) -> Path:
        """The code root."""
        return self.place / "code"

    @property
    def runtime(self) -> Path:
        """The runtime root."""
        return self.place / "runtime"

    @property
    def interpreter(self) -> Path:
        """The interpreter root."""
        return self.place / "interpreter"

    @property
    def run(self) -> Path:
        """The run directory."""
        return self.place / "run"

    def write(self, path: str, text: str) -> None:
        """Write a file that all may read and write: only a read-only mount protects it."""
        file = self.place / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o666)
        for folder in file.parents:
            if folder == self.place:
                break
            folder.chmod(0o777)


@contextmanager
def open_roots(user: tuple[int, int] | None = None) -> Iterator[Roots]:
    """Yield roots on a disk, the run directory owned by ``user``; on leaving they are gone."""
    # Not pytest's tmp_path, whose parents are 0700, nor /tmp, which may be in memory.
    place = Path(tempfile.mkdtemp(prefix="lambent-test-", dir="/var/tmp"))
    try:
        place.chmod(0o755)
        roots = Roots(place)
        for folder in (roots.code, roots.runtime, roots.interpreter, roots.run):
            folder.mkdir()
        roots.run.chmod(0o700)
        if user is not None:
            os.chown(roots.run, *user)
        yield roots
    finally:
        shutil.rmtree(place)


@asynccontextmanager
async def open_test_launcher(
    roots: Roots,
    *,
    user: tuple[int, int] | None = None,
    weaken: Sequence[str] = (),
    interpreters: Mapping[str, Path] | None = None,
) -> AsyncIterator[LauncherClient]:
    """Yield a running client of a launcher that runs as ``user``, some of its defences turned off."""
    command = launcher_command(
        python=SYSTEM_PYTHON if sys.version_info[:2] == _version_of(SYSTEM_PYTHON) else sys.executable,
        code_root=roots.code,
        runtime_root=roots.runtime,
        interpreter_root=roots.interpreter,
        run_dir=roots.run,
        interpreters=interpreters,
    )
    for defence in weaken:
        command += ["--weaken", defence]
    environ = {"LAMBENT_TEST_WEAKEN": "1"} if weaken else {}
    async with open_launcher(command, environ=environ, user=user) as client:
        yield client


def find_or_make_test_user() -> tuple[int, int]:
    """Return (uid, gid) of an ordinary user with ranges of subordinate ids; root makes him when he is missing."""
    try:
        entry = pwd.getpwnam(TEST_USER)
    except KeyError:
        subprocess.run(["/usr/sbin/useradd", "-m", TEST_USER], check=True)  # noqa: S603
        entry = pwd.getpwnam(TEST_USER)
    return entry.pw_uid, entry.pw_gid


def _version_of(python: str) -> tuple[int, int] | None:
    """The version that a system interpreter's link names, without running it."""
    name = Path(python).resolve().name.removeprefix("python")
    parts = name.split(".")
    return (int(parts[0]), int(parts[1])) if len(parts) == 2 and all(part.isdigit() for part in parts) else None

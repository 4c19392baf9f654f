"""The companion: moto's server, in a process of its own, started at the first use and again when it died.

What it was asked is recorded in ``recording`` and asked again at its next start, so that its state outlives it.
"""

import asyncio
import importlib.util
import os
import socket
import sys
from pathlib import Path
from typing import Final

import structlog

from lambent.model.errors import NeighbourRefusal

START_TIMEOUT_S: Final = 120  # with a long recording to ask again
NEEDED: Final = ("moto", "flask", "flask_cors")
PROGRAM: Final = Path(__file__).with_name("companion_process.py")
_HOST: Final = "127.0.0.1"

log = structlog.get_logger(__name__)


def is_installed(python: str) -> bool:
    """Return whether the companion's libraries are here, or those of the interpreter ``python`` are said to be."""
    if python:
        return os.access(python, os.X_OK)
    return all(importlib.util.find_spec(name) is not None for name in NEEDED)


class Companion:
    """One companion and its process. ``url`` stays the same while it lives; ``close`` ends the process.

    ``python`` is the interpreter that has its libraries, "" ours.
    """

    def __init__(self, folder: Path, python: str = "") -> None:
        self._folder, self._python = folder, python or sys.executable
        self._port = 0
        self._process: asyncio.subprocess.Process | None = None
        self._starting = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it is, once it was ``started``."""
        return f"http://{_HOST}:{self._port}"

    async def started(self) -> None:
        """Return once it answers. NeighbourRefusal if it cannot be started."""
        if self._process is not None and self._process.returncode is None:
            return
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                await self._start()

    async def close(self) -> None:
        """End the process; what it acknowledged is in the recording."""
        if self._watching is not None:
            self._watching.cancel()
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def _start(self) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._port = self._port or _free_port()
        arguments = ("-I", str(PROGRAM), str(self._port), str(self._folder))
        with (self._folder / "log").open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                self._python, *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
                stderr=output, env=_environ(),
            )  # fmt: skip
        said = b""
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                if process.stdout is not None:
                    said = await process.stdout.readline()
        except TimeoutError:
            log.error("companion_slow", timeout_s=START_TIMEOUT_S)
        if not said.startswith(b"ready"):
            if process.returncode is None:
                process.kill()
            await process.wait()
            raise NeighbourRefusal("ServiceUnavailable", f"the companion does not start; see {self._folder / 'log'}")
        self._process = process
        replayed = int(said.split()[1])
        log.info("companion_started", url=self.url, replayed=replayed)
        self._watching = asyncio.get_running_loop().create_task(_watch(process), name="companion")


async def _watch(process: asyncio.subprocess.Process) -> None:
    code = await process.wait()
    log.warning("companion_died", exit_code=code)  # the next use starts another


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def _environ() -> dict[str, str]:
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")
    # What this host's user keeps for AWS is nobody's business in there.
    nobody = {"AWS_ACCESS_KEY_ID": "companion", "AWS_SECRET_ACCESS_KEY": "companion"}
    found = {name: value for name, value in os.environ.items() if name in kept}  # environ: handed on to a child
    return {**found, **nobody, "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}

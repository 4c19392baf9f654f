"""Runs installers and interpreters for a bounded time. Blocking; runs in a thread and stops when asked to."""

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

_POLL_S: Final = 0.1
_TAIL_BYTES: Final = 4000


class CommandFailed(Exception):
    """A command could not be started, failed, or took too long; the text ends with what it said last."""


class Stop:
    """Tells a thread that nobody waits for its result any more."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def ask(self) -> None:
        """Make the command under way end and every further one fail."""
        self._event.set()

    @property
    def is_asked(self) -> bool:
        """Whether somebody asked."""
        return self._event.is_set()


def run_command(argv: Sequence[str], environ: Mapping[str, str], *, cwd: Path, limit_s: float, stop: Stop) -> str:
    """Return what the command printed to stdout, or raise CommandFailed. Its whole process group ends with it."""
    name = Path(argv[0]).name
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaints:
        try:
            process = subprocess.Popen(  # noqa: S603 - installers and interpreters that the host configured
                list(argv), stdin=subprocess.DEVNULL, stdout=output, stderr=complaints, cwd=cwd, env=dict(environ),
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise CommandFailed(f"{name}: {error.strerror}") from error
        why = _wait(process, limit_s, stop)
        if why or process.returncode:
            raise CommandFailed(f"{name} {why or f'ended with {process.returncode}'}: {_read_tail(complaints, output)}")
        output.seek(0)
        return output.read().decode(errors="replace")


def _wait(process: "subprocess.Popen[bytes]", limit_s: float, stop: Stop) -> str:
    """Return why the command was killed, or nothing if it ended by itself."""
    why = f"took more than {limit_s:.0f} s"
    for _ in range(max(1, int(limit_s / _POLL_S))):
        if stop.is_asked:
            why = "was stopped"
            break
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_S)
            return ""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return why


def _read_tail(*files: object) -> str:
    for file in files:
        size = file.seek(0, os.SEEK_END)  # type: ignore[attr-defined]
        file.seek(max(0, size - _TAIL_BYTES))  # type: ignore[attr-defined]
        lines = file.read().decode(errors="replace").strip().splitlines()  # type: ignore[attr-defined]
        if lines:
            return " / ".join(line.strip() for line in lines[-3:])
    return "it said nothing"


Progress = Callable[[str], None]

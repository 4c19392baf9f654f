"""A whole Lambent as a test sees it: real processes, a state directory of its own, a port that the system chose."""

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

# A machine that is emulated is many times slower.
PATIENCE = float(os.environ.get("LAMBENT_TEST_PATIENCE", "1"))
START_WAIT_S = 30.0 * PATIENCE
STOP_WAIT_S = 30.0 * PATIENCE


class LambentProcess:
    """``with LambentProcess() as server:`` starts one, waits until it is ready, and ends it with all it made.

    ``state_dir`` outlives the process if it is given: start another on it to see what survived.
    ``settings`` are LAMBENT_* values by their names in ``lambent.toml``, ``defaults`` those of every one.
    ``endpoint`` is the URL. ``user``: only as root, the id of the user, and of the group, that it runs as.
    ``weaken``: defences that are left out. ``open_files``: how many files each process of it may have open.
    """

    defaults: ClassVar[Mapping[str, object]] = {}

    def __init__(
        self,
        state_dir: Path | None = None,
        *,
        settings: Mapping[str, object] | None = None,
        user: int | None = None,
        weaken: Sequence[str] = (),
        open_files: int | None = None,
    ) -> None:
        self._own_dir = state_dir is None
        if state_dir is None:
            # Not below a 0700 directory: as root the server runs as a user of its own.
            state_dir = Path(tempfile.mkdtemp(prefix="lambent-test-"))
            state_dir.chmod(0o755)
        self.state_dir = state_dir
        self._settings = dict(settings or {})
        self._user = user
        self._weaken = tuple(weaken)
        self._open_files = open_files
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = ""
        self.ready_s = 0.0

    @property
    def settings(self) -> Mapping[str, object]:
        """What it was given."""
        return self._settings

    @property
    def run_dir(self) -> Path:
        """Where its run files are."""
        return self.state_dir / "run"

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        if self._process is None:
            raise RuntimeError("not started")
        return self._process.pid

    def start(self) -> None:
        """Start it and return once it answers; RuntimeError with its log if it does not."""
        self.run_dir.mkdir(exist_ok=True)
        if self._user is not None:
            for directory in (self.state_dir, self.run_dir):
                os.chown(directory, self._user, self._user)
        (self.run_dir / "endpoint.json").unlink(missing_ok=True)
        environ = {name: value for name, value in os.environ.items() if not name.startswith("LAMBENT_")}
        values = {"port": 0, "state_dir": str(self.state_dir), **self.defaults, **self._settings}
        environ.update({f"LAMBENT_{name.upper()}": _text(value) for name, value in values.items()})
        command = [sys.executable, "-m", "lambent.cli.main", "start", "--foreground"]
        if self._user is not None:
            environ["HOME"] = pwd.getpwuid(self._user).pw_dir
        if self._weaken:
            environ["LAMBENT_TEST_WEAKEN"] = "1"
            command[2:3] = ["lambent.testing.weakened", ",".join(self._weaken)]
        if self._open_files is not None:
            command = ["prlimit", f"--nofile={self._open_files}:{self._open_files}", *command]
        before = time.monotonic()
        with (self.run_dir / "lambent.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  (our own command)
                command,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=self._user,
                group=self._user,
                extra_groups=None if self._user is None else [],
            )
        self._wait_until_ready(before + START_WAIT_S)
        self.ready_s = time.monotonic() - before

    def _wait_until_ready(self, give_up_at: float) -> None:
        while time.monotonic() < give_up_at:
            if self._process is not None and self._process.poll() is not None:
                break
            with contextlib.suppress(OSError, ValueError, KeyError):
                self.endpoint = str(json.loads((self.run_dir / "endpoint.json").read_text())["endpoint"])
                return
            time.sleep(0.01)
        log = self.log()
        self.kill()
        raise RuntimeError(f"Lambent did not start:\n{log}")

    def log(self) -> str:
        """Return the end of its own log."""
        with contextlib.suppress(OSError):
            return (self.run_dir / "lambent.log").read_text(errors="replace")[-8000:]
        return ""

    def processes(self) -> Iterator[tuple[int, str]]:
        """Yield (pid, command line) of every living process below the supervisor."""
        waiting = [self.pid]
        while waiting:
            pid = waiting.pop()
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                for task in Path(f"/proc/{pid}/task").iterdir():
                    waiting += [int(child) for child in (task / "children").read_text().split()]
                yield pid, command

    def stop(self) -> None:
        """End it in order; RuntimeError if it does not end in time."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_WAIT_S)
        except subprocess.TimeoutExpired as error:
            log = self.log()
            self.kill()
            raise RuntimeError(f"Lambent did not stop:\n{log}") from error
        self._process = None

    def kill(self) -> None:
        """Kill every process of it at once, as a power cut would."""
        if self._process is None:
            return
        for pid, _ in list(self.processes()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            if self._own_dir:
                shutil.rmtree(self.state_dir, ignore_errors=True)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)

"""Starts programs as an ordinary user in groups as systemd makes them."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
HERE = Path(__file__).parent
NUMBER = 1001
LIMIT_S = 180


def write(path, text):
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def group(name, *, controllers="memory pids cpu", delegated=True):
    """Yield a service's group, the user's own if it is delegated; gone afterwards, with all below."""
    path = ROOT / name
    write(ROOT / "cgroup.subtree_control", "+memory +pids +cpu")
    above = path.parent if path.parent != ROOT else None
    path.mkdir(parents=True)
    if above is not None:
        write(above / "cgroup.subtree_control", " ".join(f"+{each}" for each in controllers.split()))
    if delegated:
        # As /sys/kernel/cgroup/delegate and systemd have it: these, and no limit, are the user's.
        for file in ("", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"):
            os.chown(path / file, NUMBER, NUMBER)
        os.setxattr(path, "user.delegate", b"1")
    try:
        yield path
    finally:
        write(path / "cgroup.kill", "1")
        while "populated 1" in (path / "cgroup.events").read_text():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)
        for folder, _, _ in os.walk(path, topdown=False):
            os.rmdir(folder)
        if above is not None:
            os.rmdir(above)


def run(script, path, *arguments, number=NUMBER):
    """Run a script of this folder as the user, or as ``number``, in a group; return its last line, JSON."""

    def become():
        write(path / "cgroup.procs", "0")
        os.setgroups([])
        os.setresgid(number, number, number)
        os.setresuid(number, number, number)

    done = subprocess.run(
        [sys.executable, HERE / script, *arguments],
        preexec_fn=become,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        env={**os.environ, "HOME": "/tmp", "PYTHONPATH": str(HERE)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])

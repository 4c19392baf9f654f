#!/usr/bin/python3 -I
"""Parent and child-subreaper of launcher and server: starts, restarts, reaps, drops privileges; nothing else.

The two talk over a SOCK_SEQPACKET pair whose ends stay open here: a restart of either breaks nothing, what was sent
waits. Standard library only, and run by its file path: systemd's main process, a container's first.
"""

import ctypes
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import Final

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
SIGNALS: Final = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}
LONGEST_WAIT_S, STEADY_S, LAUNCHER_GRACE_S = 5.0, 5.0, 10.0
DESCRIPTORS: Final = 1 << 20  # about six for each environment
# The server says by these that another start would end the same way: asked to stop; not without the operator's help.
FINAL_CODES: Final = (0, 3)


class Child:
    """One of the two: its command, the user it runs as (None: ours), and its end of the channel."""

    def __init__(self, command: Sequence[str], user: tuple[int, int] | None, end: int) -> None:
        self._command, self._user, self._end = command, user, end
        self.pid = self.code = 0
        self.due_mono_s = 0.0
        self._generation = self._young = 0
        self._started_mono_s = 0.0

    def start(self) -> None:
        """Fork and exec. Only we and the child hold its pid until it is reaped, so no signal can go astray."""
        self._generation += 1
        self._started_mono_s = time.monotonic()
        supervisor = os.getpid()
        self.pid = os.fork()  # single-threaded, so the child may run Python until exec
        if self.pid:
            return
        try:
            os.setpgid(0, 0)  # a terminal's Ctrl-C is ours alone to pass on, in order
            os.set_inheritable(self._end, True)
            if self._user is not None:
                os.setgroups([])
                os.setresgid(self._user[1], self._user[1], self._user[1])
                os.setresuid(self._user[0], self._user[0], self._user[0])
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which clears it
            if os.getppid() != supervisor:
                os._exit(1)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            command = [*self._command, str(self._end)]
            os.execve(command[0], command, {**os.environ, "LAMBENT_GENERATION": str(self._generation)})  # noqa: S606
        except OSError as error:
            os.write(2, f"supervisor: cannot start {self._command[0]}: {error}\n".encode())
        finally:
            os._exit(127)

    def ended(self, status: int) -> None:
        """Again at once; but after 0.1 s, 0.2 s, 0.4 s … when it keeps dying young."""
        now = time.monotonic()
        self._young = 0 if now - self._started_mono_s > STEADY_S else self._young + 1
        self.pid, self.code = 0, os.waitstatus_to_exitcode(status)
        wait_s = min(LONGEST_WAIT_S, 0.025 * 2**self._young) if self._young > 1 else 0.0
        self.due_mono_s = now + wait_s

    def signal(self, number: int) -> None:
        """Send a signal if it lives."""
        if self.pid:
            os.kill(self.pid, number)


def supervise(
    launcher: Sequence[str], server: Sequence[str], *, user: tuple[int, int] | None = None, grace_s: float = 30.0
) -> int:
    """Run both until SIGTERM, SIGINT or a final exit of the server, whose exit code is returned.

    The first word of each command is an absolute path; the descriptor of its end of the channel is added as the last.
    ``user`` (uid, gid) is whom the server runs as. At the end it has ``grace_s`` to drain; then the launcher ends.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    children = (Child(launcher, None, ends[0].fileno()), Child(server, user, ends[1].fileno()))
    while True:
        now = time.monotonic()
        for child in children:
            if not child.pid and now >= child.due_mono_s:
                child.start()
        due_s = [child.due_mono_s - now for child in children if not child.pid]
        if _wait_and_reap(children, max(0.0, min([*due_s, 1.0]))):
            break
        if not children[1].pid and children[1].code in FINAL_CODES:
            break
    _stop(children, children[1], grace_s)
    _stop(children, children[0], LAUNCHER_GRACE_S)
    return children[1].code


def _wait_and_reap(children: Sequence[Child], limit_s: float) -> bool:
    """Wait for a signal, reap every dead child and orphan; True if we were asked to stop."""
    got = signal.sigtimedwait(SIGNALS, limit_s)
    while True:  # one SIGCHLD may stand for many
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if not pid:
            break
        for child in children:
            if child.pid == pid:
                child.ended(status)
    return got is not None and got.si_signo != signal.SIGCHLD


def _stop(children: Sequence[Child], child: Child, grace_s: float) -> None:
    child.signal(signal.SIGTERM)
    end_mono_s = time.monotonic() + grace_s
    while child.pid:
        left_s = end_mono_s - time.monotonic()
        if left_s <= 0:
            child.signal(signal.SIGKILL)
        _wait_and_reap(children, max(0.01, min(left_s, 1.0)))


def prctl(option: int, value: int) -> None:
    """Call prctl(2) with one argument."""
    ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0)


def raise_descriptor_limit() -> None:
    """Let this process and its children open as many files as it may; an ordinary user's soft limit is 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, DESCRIPTORS) if hard != resource.RLIM_INFINITY else DESCRIPTORS
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main() -> int:
    """Supervise what argv[1] says: {"launcher": [...], "server": [...], "user": [uid, gid] or null, "grace_s": 30}."""
    raise_descriptor_limit()
    order = json.loads(sys.argv[1])
    user = tuple(order["user"]) if order.get("user") else None
    return supervise(order["launcher"], order["server"], user=user, grace_s=float(order.get("grace_s", 30.0)))


if __name__ == "__main__":
    sys.exit(main())

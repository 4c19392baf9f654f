#!/usr/bin/python3 -I
"""Parent and child-subreaper of launcher and server: starts, restarts, reaps, drops privileges; nothing else.

The two talk over a SOCK_SEQPACKET pair whose ends stay open here: a restart of either breaks nothing, what was sent
waits. The server says by a pipe that it is ready and, from then on, that it lives: one that falls silent is killed and
started again. Standard library only, and run by its file path: systemd's main process, a container's first.
"""

import contextlib
import ctypes
import fcntl
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
STOPS: Final = {signal.SIGTERM, signal.SIGINT}
SIGNALS: Final = {signal.SIGCHLD, signal.SIGIO, *STOPS}
LONGEST_WAIT_S, STEADY_S, LAUNCHER_GRACE_S = 5.0, 5.0, 10.0
DESCRIPTORS: Final = 1 << 20  # about six for each environment
# The server says by these that another start would end the same way: asked to stop; not without the operator's help.
FINAL_CODES: Final = (0, 3)
PROFILE: Final = "lambent-launcher"  # AppArmor's, made by `lambent setup`
LONGEST_TURN_S: Final = 1.0
READY: Final = b"r"  # what the server writes; any other byte says that it lives


class Child:
    """One of the two: its command, the user it runs as (None: ours), and its end of the channel."""

    def __init__(
        self, name: str, command: Sequence[str], end: int, *, user: tuple[int, int] | None = None, notes: int = -1
    ) -> None:
        self.name = name
        self._command, self._user, self._end, self._notes = command, user, end, notes
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
            environ = {**os.environ, "LAMBENT_GENERATION": str(self._generation)}
            if self._notes >= 0:
                os.set_inheritable(self._notes, True)
                environ["LAMBENT_NOTES"] = str(self._notes)
            if self._user is not None:
                os.setgroups([])
                os.setresgid(self._user[1], self._user[1], self._user[1])
                os.setresuid(self._user[0], self._user[0], self._user[0])
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which clears it
            if os.getppid() != supervisor:
                os._exit(1)
            if self._notes < 0:
                enter_profile()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            command = [*self._command, str(self._end)]
            os.execve(command[0], command, environ)  # noqa: S606
        except OSError as error:
            say(f"cannot start {self._command[0]}: {error}")
        finally:
            os._exit(127)

    def ended(self, status: int) -> None:
        """Again at once; but after 0.1 s, 0.2 s, 0.4 s … when it keeps dying young."""
        now = time.monotonic()
        self._young = 0 if now - self._started_mono_s > STEADY_S else self._young + 1
        self.pid, self.code = 0, os.waitstatus_to_exitcode(status)
        wait_s = min(LONGEST_WAIT_S, 0.025 * 2**self._young) if self._young > 1 else 0.0
        self.due_mono_s = now + wait_s
        say(f"the {self.name} ended with {self.code}; started {self._generation} times so far")

    def signal(self, number: int) -> None:
        """Send a signal if it lives."""
        if self.pid:
            os.kill(self.pid, number)


class Pulse:
    """What the server says on its pipe, and since when it has been silent."""

    def __init__(self, limit_s: float) -> None:
        self.reader, self.writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        fcntl.fcntl(self.reader, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(self.reader, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)  # SIGIO when something was written
        self._limit_s = limit_s
        self._is_ready = False
        self._heard_mono_s = self._turned_mono_s = time.monotonic()

    def began(self) -> None:
        """Another server starts, which owes no word until it is ready."""
        self._read()
        self._is_ready = False

    def turn(self) -> bool:
        """Take in what was said; whether the server has just become ready."""
        said, was_ready, now = self._read(), self._is_ready, time.monotonic()
        # Where we stood still ourselves (a stopped process tree, a suspended host) its silence says nothing.
        if said or now - self._turned_mono_s > 3 * LONGEST_TURN_S:
            self._heard_mono_s = now
        self._turned_mono_s = now
        self._is_ready = was_ready or READY in said
        return self._is_ready and not was_ready

    def is_hung(self) -> bool:
        """Whether a server that was ready has been silent for too long, at the last turn.

        Not by now: we may have stood still since, and the next turn forgives that.
        """
        return self._is_ready and 0 < self._limit_s < self._turned_mono_s - self._heard_mono_s

    def _read(self) -> bytes:
        with contextlib.suppress(BlockingIOError):
            return os.read(self.reader, 65536)
        return b""


class Manager:
    """The service manager that started us, where there is one: systemd's protocol of datagrams, sd_notify(3)."""

    def __init__(self) -> None:
        address = os.environ.pop("NOTIFY_SOCKET", "")  # no child may speak for us
        for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
            os.environ.pop(name, None)
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if address else None

    def tell(self, *lines: str) -> None:
        """Send assignments like READY=1; who does not listen is no reason to stop."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto("\n".join(lines).encode(), socket.MSG_DONTWAIT, self._address)


def supervise(
    launcher: Sequence[str],
    server: Sequence[str],
    *,
    user: tuple[int, int] | None = None,
    grace_s: float = 30.0,
    hang_s: float = 30.0,
) -> int:
    """Run both until SIGTERM, SIGINT or a final exit of the server, whose exit code is returned.

    The first word of each command is an absolute path; the descriptor of its end of the channel is added as the last.
    ``user`` (uid, gid) is whom the server runs as. A server that was ready and says nothing for ``hang_s`` (0: for
    ever) is killed. At the end it has ``grace_s`` to drain; then the launcher ends.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    manager, pulse = Manager(), Pulse(hang_s)
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    children = (
        Child("launcher", launcher, ends[0].fileno()),
        Child("server", server, ends[1].fileno(), user=user, notes=pulse.writer),
    )
    _run(children, manager, pulse)
    manager.tell("STOPPING=1", "STATUS=waiting for invocations in flight")
    _stop(children, children[1], grace_s)
    _stop(children, children[0], LAUNCHER_GRACE_S)
    return children[1].code


def _run(children: Sequence[Child], manager: Manager, pulse: Pulse) -> None:
    """Start what does not run, until we are asked to stop or the server is not to be started again."""
    server = children[1]
    while True:
        now = time.monotonic()
        for child in children:
            if not child.pid and now >= child.due_mono_s:
                if child is server:
                    pulse.began()
                child.start()
        due_s = [child.due_mono_s - now for child in children if not child.pid]
        if _wait_and_reap(children, max(0.0, min([*due_s, LONGEST_TURN_S]))):
            return
        if not server.pid and server.code in FINAL_CODES:
            return
        manager.tell("WATCHDOG=1", *(("READY=1", "STATUS=ready") if pulse.turn() else ()))
        if server.pid and pulse.is_hung():
            say(f"the server, process {server.pid}, is silent: killed")
            server.signal(signal.SIGKILL)


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
    return got is not None and got.si_signo in STOPS


def _stop(children: Sequence[Child], child: Child, grace_s: float) -> None:
    child.signal(signal.SIGTERM)
    end_mono_s = time.monotonic() + grace_s
    while child.pid:
        left_s = end_mono_s - time.monotonic()
        if left_s <= 0:
            child.signal(signal.SIGKILL)
        _wait_and_reap(children, max(0.01, min(left_s, LONGEST_TURN_S)))


def say(text: str) -> None:
    """Write a line to the log, which may be full or gone."""
    with contextlib.suppress(OSError):
        os.write(2, f"supervisor: {text}\n".encode())


def enter_profile() -> None:
    """Have the next exec of this process enter AppArmor's profile, where there is one: user namespaces may need it."""
    with contextlib.suppress(OSError):
        descriptor = os.open("/proc/self/attr/apparmor/exec", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, f"exec {PROFILE}".encode())
        finally:
            os.close(descriptor)


def prctl(option: int, value: int) -> None:
    """Call prctl(2) with one argument."""
    ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0)


def raise_descriptor_limit() -> None:
    """Let this process and its children open as many files as it may; an ordinary user's soft limit is 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, DESCRIPTORS) if hard != resource.RLIM_INFINITY else DESCRIPTORS
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main() -> int:
    """Supervise what argv[1] says: {"launcher": [...], "server": [...], "user": [uid, gid] or null, …}."""
    raise_descriptor_limit()
    order = json.loads(sys.argv[1])
    user = tuple(order["user"]) if order.get("user") else None
    patience = {name: float(order[name]) for name in ("grace_s", "hang_s") if name in order}
    return supervise(order["launcher"], order["server"], user=user, **patience)


if __name__ == "__main__":
    sys.exit(main())

"""Processes in the host's network that the router needs, kept alive by one parent that dies with the launcher."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lambent.sandbox.launcher import kernel

_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 30.0


@dataclass(frozen=True, slots=True)
class Companion:
    """``work`` runs until it is killed, or becomes another program.

    ``kuid``: whom it runs as; None: as we are. ``keeps``: descriptors that it needs; it gets no others.
    """

    name: str
    work: Callable[[], None]
    kuid: int | None
    keeps: tuple[int, ...]


def keep_alive(companions: Sequence[Companion]) -> int:
    """Start all of them below a process of its own, which starts again what ends; return its pid.

    Killing it ends all. The network namespace is the caller's at this moment.
    """
    launcher = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        _die_with(launcher)
        _close_all_but({descriptor for each in companions for descriptor in each.keeps})
        _keep(companions)
    finally:
        os._exit(1)


def end(pid: int) -> None:
    """End them; the kernel kills them with their parent, which is dead on return."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _keep(companions: Sequence[Companion]) -> None:
    parent = os.getpid()
    living = {_start(each, parent): each for each in companions}
    pause_s, last_mono_s = _PAUSE_S, 0.0
    while True:
        pid, _ = os.waitpid(-1, 0)
        if ended := living.pop(pid, None):
            steady = time.monotonic() - last_mono_s > _LONGEST_PAUSE_S
            pause_s, last_mono_s = (_PAUSE_S if steady else min(2 * pause_s, _LONGEST_PAUSE_S)), time.monotonic()
            os.write(2, f"lambent launcher: {ended.name} ended and is started again\n".encode())
            time.sleep(pause_s)
            living[_start(ended, parent)] = ended


def _start(companion: Companion, parent: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        _close_all_but(set(companion.keeps))
        if companion.kuid is not None:
            os.setgroups([])
            os.setresgid(companion.kuid, companion.kuid, companion.kuid)
            os.setresuid(companion.kuid, companion.kuid, companion.kuid)
        _die_with(parent)  # after the change of user, which clears it
        companion.work()
    except BaseException as error:  # noqa: BLE001  nothing may return into the parent's loop
        os.write(2, f"lambent launcher: {companion.name}: {error}\n".encode())
    finally:
        os._exit(1)


def _die_with(parent: int) -> None:
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _close_all_but(kept: set[int]) -> None:
    ordered = sorted({0, 1, 2} | kept)
    for number, following in zip(ordered, [*ordered[1:], 1 << 20], strict=True):
        os.closerange(number + 1, following)

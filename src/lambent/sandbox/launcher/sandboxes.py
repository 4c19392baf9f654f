"""One sandbox: its id, network, disk, cgroup, limits, and the program in it."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

from lambent.sandbox.launcher import kernel
from lambent.sandbox.launcher.cgroups import Cgroup, status_bytes, transient_peak_bytes
from lambent.sandbox.launcher.host import Host
from lambent.sandbox.launcher.identities import open_user_namespace
from lambent.sandbox.launcher.programs import (
    GID,
    LOG_FD,
    TREE_PLACES,
    UID,
    Program,
    Spawn,
    bubblewrap_arguments,
    spawn,
)

_START_LIMIT_S: Final = 10.0
_ASSIGNABLE: Final = ("code", "layers", "bytecode")
# bubblewrap's monitor and the namespace's init are in the cgroup and under the kuid, too.
_OWN_PROCESSES: Final = 2

Answer = Callable[[dict[str, object] | str, list[int]], None]


class Loop(Protocol):
    """What a sandbox needs of the launcher's loop."""

    def watch(self, descriptor: int, callback: Callable[[], None]) -> None:
        """Call back when readable."""

    def unwatch(self, descriptor: int) -> None:
        """Stop that."""

    def poll(self, condition: Callable[[], bool]) -> None:
        """Ask every millisecond until true."""

    def adopt(self, pid: int, ended: Callable[[], None]) -> None:
        """Call back when the child is reaped."""

    def run_in_child(self, work: Callable[[], None], ended: Callable[[], None]) -> None:
        """Do slow work elsewhere."""

    def tell_exit(self, fields: dict[str, object]) -> None:
        """Tell the server of an exit."""

    def forget(self, sandbox: "Sandbox") -> None:
        """Drop it."""


class Sandbox:
    """Made without a program. Every method belongs to the loop's one thread."""

    def __init__(self, loop: Loop, host: Host, name: str, limits: dict[str, Any], egress: str) -> None:
        self.name = name
        self.is_ending = False
        self._loop = loop
        self._host = host
        self._limits = limits = {**limits, **host.lifted}
        self._program: Program | None = None
        self._starter: Answer | None = None
        self._killers: list[Answer] = []
        self._enders: list[Answer] = []
        self._peak_bytes = 0
        with contextlib.ExitStack() as undo:
            self.kuid = host.kuids.take()
            undo.callback(host.kuids.give_back, self.kuid)
            self.user_namespace = self._make_user_namespace()
            if self.user_namespace is not None:
                undo.callback(os.close, self.user_namespace)
            self.cgroup = host.cgroups.make(name)
            if self.cgroup is not None:
                undo.callback(self.cgroup.remove)
                self._apply(self.cgroup, limits)
            self.network = host.networks.take(egress)
            undo.callback(self.network.close)
            self.disk = host.disks.take(limits["tmp_mib"])
            undo.pop_all()

    def start(self, answer: Answer, descriptors: list[int], **fields: Any) -> None:
        """Spawn bubblewrap; ``answer`` is called when the program proper runs, or has failed to."""
        if self._program is not None:
            raise OSError("a program runs in it")
        named = dict(zip(fields["received"], descriptors, strict=False))
        if len(descriptors) != len(fields["received"]):
            raise OSError("the descriptors that were named did not come")
        taken: list[tuple[str, str]] = []
        try:
            mounts = self._take_trees(fields["trees"], taken)
            program = self._spawn(mounts, named, **fields)
        except BaseException:
            self._give_back(taken)
            raise
        program.trees = taken
        if self.cgroup is not None:
            program.kills_before = self.cgroup.out_of_memory_kills()
        self._program, self._starter = program, answer
        self._loop.adopt(program.monitor, lambda: self._monitor_died(program))
        self._loop.watch(program.status, lambda: self._status_came(program))

    def assign(self, number: int, trees: dict[str, str]) -> None:
        """Mount trees read-only over their places in the program's view."""
        program = self._running(number)
        if unassignable := set(trees) - set(_ASSIGNABLE):
            raise OSError(f"{sorted(unassignable)[0]} cannot be assigned to a running program")
        attributes = kernel.WRITABLE if "read-only-code" in self._host.weakened else kernel.READ_ONLY
        there = kernel.namespace("mnt", program.init)
        try:
            for key, name in trees.items():
                root, place = TREE_PLACES[key]
                tree = self._host.trees.open(root, name, attributes)
                try:
                    kernel.attach_in(self._host.home, there, tree, place.encode())
                finally:
                    os.close(tree)
        finally:
            os.close(there)

    def send_signal(self, number: int, signal_number: int) -> None:
        """Send a signal to the program proper."""
        self._running(number).send_signal(signal_number)

    def kill(self, number: int, answer: Answer) -> None:
        """Kill the tree; ``answer`` when it is dead, which it may be already."""
        if self._program is None or self._program.number != number:
            answer({}, [])
            return
        self._killers.append(answer)
        self._kill(self._program)

    def set_limits(self, limits: dict[str, Any]) -> None:
        """Change limits; the disk keeps its size."""
        limits = {**limits, **self._host.lifted}
        if limits["tmp_mib"] != self._limits["tmp_mib"]:
            raise OSError("tmp_mib is fixed when a sandbox is made")
        if self.cgroup is not None:
            self._apply(self.cgroup, limits)
        self._limits = limits

    @contextlib.contextmanager
    def open_controls(self) -> Iterator[dict[str, int]]:
        """Yield descriptors, by name, for what the server does with the cgroup itself: freeze it, see what it holds."""
        controls = self.cgroup.open_controls() if self.cgroup is not None else {}
        try:
            yield controls
        finally:
            for descriptor in controls.values():
                os.close(descriptor)

    def peak_memory_bytes(self) -> int:
        """The most memory used so far, as far as this host lets us know."""
        peak = self.cgroup.peak_memory_bytes() if self.cgroup is not None else None
        if peak is None:
            peak = sum(status_bytes(pid, "RssAnon")[0] + transient_peak_bytes(pid) for pid in self._family())
        self._peak_bytes = max(self._peak_bytes, peak)
        return self._peak_bytes

    def resident_file_bytes(self) -> int:
        """The most of files that one of its processes has mapped and in memory: pages that others may share."""
        pids = self.cgroup.pids() if self.cgroup is not None else self._family()
        return max((status_bytes(pid, "RssFile")[0] for pid in pids), default=0)

    def end(self, answer: Answer | None) -> None:
        """Kill and remove all of it."""
        if answer is not None:
            self._enders.append(answer)
        if self.is_ending:
            return
        self.is_ending = True
        if self._program is not None:
            self._kill(self._program)
        else:
            self._dismantle()

    def _make_user_namespace(self) -> int | None:
        """One with two ids, as root can: the function's, and a root that owns what it finds and that nobody is."""
        root = self._host.kuids.root
        if root is None or self.kuid is None:
            return None
        uid_map, gid_map = (f"0 {root} 1\n{inside} {self.kuid} 1" for inside in (UID, GID))
        is_last = not {"userns", "capabilities"} & self._host.weakened
        return open_user_namespace(self.kuid, uid_map, gid_map, is_last=is_last)

    def _apply(self, cgroup: Cgroup, limits: dict[str, Any]) -> None:
        cgroup.limit_memory(limits["memory_mib"])
        cgroup.limit_processes(limits["processes"] + _OWN_PROCESSES)
        cgroup.limit_cpu(limits["cpu_share"])
        cgroup.weigh_cpu(limits["cpu_weight"])

    def _take_trees(self, trees: dict[str, str], taken: list[tuple[str, str]]) -> dict[str, str]:
        mounts = {}
        for key, name in trees.items():
            root, place = TREE_PLACES[key]
            mounts[place] = self._host.trees.take(root, name)
            taken.append((root, name))
        return mounts

    def _give_back(self, taken: list[tuple[str, str]]) -> None:
        while taken:
            self._host.trees.give_back(*taken.pop())

    def _spawn(self, mounts: dict[str, str], descriptors: dict[str, int], **fields: Any) -> Program:
        weakened = self._host.weakened
        user_namespace = None if "kuid" in weakened else self.user_namespace
        plan = Spawn(
            bubblewrap=self._host.bubblewrap,
            title=f"{self._host.title_prefix}{self.name}",
            arguments=bubblewrap_arguments(
                mounts,
                self.disk.path,
                fields["environ"],
                owns_namespace=user_namespace is not None,
                weakened=weakened,
            ),
            argv=fields["argv"],
            system_call_filter=self._host.system_call_filter,
            network=self._host.home_network if "network" in weakened else self.network.descriptor,
            user_namespace=user_namespace,
            entrances=self.cgroup.entrances() if self.cgroup is not None else [],
            kuid=None if "kuid" in weakened else self.kuid,
            open_files=self._limits["open_files"],
            processes=self._limits["processes"],
            output=descriptors["output"],
            log=descriptors.get("log"),
            control=descriptors.get("control"),
        )
        return spawn(plan, fields["program"])

    def _running(self, number: int) -> Program:
        if self._program is None or self._program.number != number or not self._program.has_started:
            raise OSError("the program does not run")
        return self._program

    def _kill(self, program: Program) -> None:
        program.kill()
        if self.cgroup is not None:
            self.cgroup.let_die()

    def _status_came(self, program: Program) -> None:
        before = program.init_fd
        if not program.read_status():
            self._loop.unwatch(program.status)
        if before < 0 <= program.init_fd:
            self._loop.watch(program.init_fd, lambda: self._init_died(program))
            # The program proper is forked when all mounts are made, and runs when its file is no more bubblewrap's.
            deadline_mono_s = time.monotonic() + _START_LIMIT_S
            self._loop.poll(lambda: self._look_for_start(program, deadline_mono_s))
            if program.was_killed:
                program.kill()

    def _look_for_start(self, program: Program, deadline_mono_s: float) -> bool:
        if self._program is not program or self._starter is None:
            return True
        if not program.look_for_start(self._host.bubblewrap_status):
            if time.monotonic() < deadline_mono_s:
                return False
            program.failure = f"the program did not start within {_START_LIMIT_S:.0f} s"
            self._kill(program)
            return True
        answer, self._starter = self._starter, None
        answer({"pid": program.pid}, [])
        return True

    def _init_died(self, program: Program) -> None:
        self._loop.unwatch(program.init_fd)
        program.init_ended()
        self._check_over(program)

    def _monitor_died(self, program: Program) -> None:
        self._status_came(program)
        program.monitor_is_dead = True
        if program.init_fd >= 0:
            # Its init has the same fate by PR_SET_PDEATHSIG; this is for the case that it was frozen or unlucky.
            self._kill_again(program)
        self._check_over(program)

    def _kill_again(self, program: Program) -> None:
        was_killed = program.was_killed
        self._kill(program)
        program.was_killed = was_killed

    def _check_over(self, program: Program) -> None:
        if program.is_over() and self._program is program:
            self._over(program)

    def _over(self, program: Program) -> None:
        """The tree is dead: tell who waits for it."""
        self._program = None
        code, signal_number = program.result()
        failed = self._starter is not None and (program.exit_code is None or bool(program.failure))
        kills = self.cgroup.out_of_memory_kills() if self.cgroup is not None else 0
        if self._starter is not None:
            failure = program.failure or "bubblewrap could not start the program; its words are in the program's output"
            self._starter(failure if failed else {"pid": program.init}, [])
            self._starter = None
        self._loop.unwatch(program.status)
        program.close()
        self._give_back(program.trees)
        if not failed:
            fields: dict[str, object] = {"sandbox": self.name, "program": program.number, "code": code}
            fields["signal"] = signal_number
            fields["out_of_memory"] = signal_number == 9 and kills > program.kills_before
            self._loop.tell_exit(fields)
        for answer in self._killers:
            answer({}, [])
        self._killers.clear()
        if self.is_ending:
            self._dismantle()

    def _dismantle(self) -> None:
        """Remove network, cgroup and disk, the slow part elsewhere; then nothing is left."""
        self.network.close()
        left = {"disk", "cgroup"}

        def done(part: str) -> None:
            left.discard(part)
            if not left:
                self._gone()

        def cgroup_is_gone() -> bool:
            if self.cgroup is not None:
                self.cgroup.kill_all()
                if not self.cgroup.remove():
                    return False
            done("cgroup")
            return True

        self._loop.run_in_child(self.disk.discard, lambda: done("disk"))
        self._loop.poll(cgroup_is_gone)

    def _gone(self) -> None:
        if self.user_namespace is not None:
            os.close(self.user_namespace)
        self._host.kuids.give_back(self.kuid)
        self._loop.forget(self)
        for answer in self._enders:
            answer({}, [])

    def _family(self) -> list[int]:
        if self._program is None or not self._program.init:
            return []
        found, unread = [], [self._program.init]
        while unread:
            pid = unread.pop()
            found.append(pid)
            with contextlib.suppress(OSError):
                for task in os.listdir(f"/proc/{pid}/task"):
                    unread += [int(child) for child in kernel.read_file(f"/proc/{pid}/task/{task}/children").split()]
        return found


__all__ = ["LOG_FD", "Answer", "Loop", "Sandbox"]

"""The supervisor's promises, with a launcher and a server in miniature, and with the real launcher."""

import itertools
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lambent.sandbox import supervisor
from lambent.sandbox.launcher_client import launcher_command
from lambent.testing.sandboxes import SYSTEM_PYTHON, find_or_make_test_user, open_roots

CHILD = r"""
import json, os, signal, socket, sys
name, end = sys.argv[1], socket.socket(fileno=int(sys.argv[-1]))
def say(event, **facts):
    message = {"by": name, "event": event, "pid": os.getpid(), "uid": os.getuid(), **facts}
    os.write(1, (json.dumps(message) + "\n").encode())
def stop(*_):
    say("stopped")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
say("ready", generation=os.environ["LAMBENT_GENERATION"])
"""
LAUNCHER = CHILD + "while True: end.send(b'answer to ' + end.recv(99))\n"
SERVER = (
    CHILD
    + r"""
for number in range(1000):
    end.send(f"question {number}".encode())
    say("heard", answer=end.recv(99).decode())
    signal.pause() if number == 2 else None
"""
)
ORPHAN = (
    CHILD
    + r"""
parent = os.getpid()
if not os.fork():
    import time
    while os.getppid() == parent:
        time.sleep(0.01)
    say("orphan", parent=os.getppid())
    os._exit(0)
sys.exit(9)
"""
)
STUBBORN = (
    CHILD + "signal.signal(signal.SIGTERM, lambda *_: say('draining'))\nsay('stubborn')\nwhile True: signal.pause()\n"
)


LIVELY = (
    CHILD
    + r"""
import time
notes = int(os.environ["LAMBENT_NOTES"])
say("environ", names=sorted(os.environ))
os.write(notes, b"r")
for _ in range(BEATS):
    time.sleep(0.05)
    os.write(notes, b".")
signal.pause()
"""
)


class Supervised:
    """A supervisor as a process, its children's words on a pipe."""

    def __init__(self, launcher, server, *, environ=None, **options):
        order = {"launcher": launcher, "server": server, **options}
        command = [SYSTEM_PYTHON, "-I", supervisor.__file__, json.dumps(order)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environ or {})
        self.text = b""
        self.events = []

    def next(self, **wanted):
        """Return the first event with these members that nobody took yet; wait for it."""
        while True:
            for event in self.events:
                if wanted.items() <= event.items():
                    self.events.remove(event)
                    return event
            assert select.select([self.process.stdout], [], [], 20)[0], f"waited in vain for {wanted}"
            part = os.read(self.process.stdout.fileno(), 65536)
            assert part, f"the end came before {wanted}: {self.events}"
            self._take_in(part)

    def rest(self):
        """Return what nobody took, to the end."""
        self._take_in(self.process.stdout.read())
        return self.events

    def _take_in(self, part):
        *lines, self.text = (self.text + part).split(b"\n")
        self.events += [json.loads(line) for line in lines if line.startswith(b"{")]  # the rest is a log


@pytest.fixture
def start():
    started = []

    def make(launcher=LAUNCHER, server=SERVER, **options):
        commands = [
            [SYSTEM_PYTHON, "-I", "-c", script, name] for script, name in ((launcher, "launcher"), (server, "server"))
        ]
        started.append(Supervised(*commands, **options))
        return started[-1]

    yield make
    for each in started:
        each.process.kill()
        each.process.wait()
        each.process.stdout.close()


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.01)


def test_the_two_speak_over_the_channel(start):
    run = start()
    assert run.next(by="server", event="heard")["answer"] == "answer to question 0"


def test_a_killed_launcher_is_started_again_and_the_server_stays(start):
    run = start()
    launcher = run.next(by="launcher", event="ready")
    server = run.next(by="server", answer="answer to question 2")
    os.kill(launcher["pid"], signal.SIGKILL)
    again = run.next(by="launcher", event="ready")
    assert again["generation"] == "2"
    assert is_alive(server["pid"])
    assert not is_alive(launcher["pid"])


def test_a_killed_server_is_started_again_on_the_same_channel(start):
    run = start()
    launcher = run.next(by="launcher", event="ready")
    server = run.next(by="server", answer="answer to question 2")
    os.kill(server["pid"], signal.SIGKILL)
    assert run.next(by="server", event="heard")["answer"] == "answer to question 0"
    assert is_alive(launcher["pid"])


def test_at_sigterm_the_server_ends_before_the_launcher(start):
    run = start()
    run.next(by="server", answer="answer to question 2")
    run.process.terminate()
    ends = [event["by"] for event in run.rest() if event["event"] == "stopped"]
    assert ends == ["server", "launcher"]
    assert run.process.wait(10) == 0


def test_a_server_that_does_not_drain_in_time_is_killed(start):
    run = start(server=STUBBORN, grace_s=0.2)
    server = run.next(event="stubborn")
    run.next(by="launcher", event="ready")
    run.process.terminate()
    assert [event["event"] for event in run.rest() if event["event"] != "ready"] == ["draining", "stopped"]
    assert run.process.wait(10) == 256 - signal.SIGKILL
    assert not is_alive(server["pid"])


def test_a_server_that_needs_the_operator_is_not_started_again(start):
    run = start(server=CHILD + "sys.exit(3)")
    assert run.process.wait(10) == 3
    assert [event["by"] for event in run.rest()].count("server") == 1


def test_a_child_that_keeps_dying_is_started_ever_more_slowly(start):
    run = start(server=CHILD + "sys.exit(9)")
    times = []
    for _ in range(5):
        run.next(by="server", event="ready")
        times.append(time.monotonic())
    waits = [after - before for before, after in itertools.pairwise(times)]
    assert waits[-1] > waits[0]
    assert is_alive(run.process.pid)


def test_orphans_come_to_the_supervisor(start):
    run = start(server=ORPHAN)
    assert run.next(event="orphan")["parent"] == run.process.pid


def test_nobody_outlives_the_supervisor(start):
    run = start()
    pids = [run.next(by=name, event="ready")["pid"] for name in ("launcher", "server")]
    run.process.kill()
    run.process.wait()
    until(lambda: not any(is_alive(pid) for pid in pids))


@pytest.mark.root
def test_the_server_loses_roots_privileges_and_still_dies_with_the_supervisor(start):
    if os.geteuid() != 0:
        pytest.skip("only root has privileges to drop")
    user = find_or_make_test_user()
    run = start(user=user)
    assert run.next(by="launcher", event="ready")["uid"] == 0
    server = run.next(by="server", event="ready")
    assert server["uid"] == user[0]
    assert Path(f"/proc/{server['pid']}/status").read_text().count("CapEff:\t0000000000000000") == 1
    run.process.kill()
    run.process.wait()
    until(lambda: not is_alive(server["pid"]))


def test_a_server_that_falls_silent_is_killed_and_started_again_and_the_launcher_stays(start):
    run = start(server=LIVELY.replace("BEATS", "10"), hang_s=0.3)
    launcher = run.next(by="launcher", event="ready")
    first = run.next(by="server", event="ready")
    again = run.next(by="server", event="ready")
    assert (first["generation"], again["generation"]) == ("1", "2")
    assert not is_alive(first["pid"])
    assert is_alive(launcher["pid"])


def test_a_server_that_was_never_ready_may_be_silent_for_as_long_as_it_takes(start):
    run = start(server=CHILD + "import time\ntime.sleep(2)\nsay('up')\nsignal.pause()\n", hang_s=0.1)
    assert run.next(by="server", event="ready")["generation"] == "1"
    assert run.next(by="server", event="up")


def test_a_silence_in_which_the_supervisor_stood_still_itself_is_forgiven(start):
    run = start(server=LIVELY.replace("BEATS", "1000"), hang_s=2.0)
    server = run.next(by="server", event="environ")["pid"]
    pids = [server, run.process.pid]
    for pid in pids:  # as when a host is suspended, or a container paused
        os.kill(pid, signal.SIGSTOP)
    time.sleep(4.5)  # what passes is the point: longer than the limit, and than any turn
    for pid in reversed(pids):
        os.kill(pid, signal.SIGCONT)
    time.sleep(0.3)
    assert is_alive(server)


def test_a_service_manager_is_told_of_readiness_life_and_the_stop(start, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "9000000"}
        run = start(server=LIVELY.replace("BEATS", "1000"), environ=environ)
        names = run.next(by="server", event="environ")["names"]
        assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & set(names), "no child may speak for the supervisor"
        told = [manager.recv(999).decode().split("\n")]
        while "READY=1" not in told[-1]:
            told.append(manager.recv(999).decode().split("\n"))
        assert manager.recv(999) == b"WATCHDOG=1"
        run.process.terminate()
        while "STOPPING=1" not in told[-1]:
            told.append(manager.recv(999).decode().split("\n"))
        assert [line for lines in told for line in lines].count("READY=1") == 1


def test_a_manager_that_is_gone_stops_nothing(start, tmp_path):
    run = start(environ={"NOTIFY_SOCKET": str(tmp_path / "absent")})
    assert run.next(by="server", event="heard")


ORPHANS = (
    CHILD
    + r"""
for _ in range(50):
    if not os.fork():
        os.fork()  # whose parent is gone at once
        os._exit(0)
    os.wait()
say("forked")
signal.pause()
"""
)


def test_orphans_that_end_are_taken_in(start):
    run = start(server=ORPHANS)
    run.next(by="server", event="forked")
    until(lambda: len(children_with("", run.process.pid)) == 2)


REAL_SERVER = r"""
import asyncio, json, os, signal, socket, sys
sys.path.insert(0, SOURCE)
from lambent.model.errors import HostError
from lambent.sandbox.bubblewrap import BubblewrapDriver
from lambent.sandbox.driver import Limits, Program, SandboxSpec, Trees
from lambent.sandbox.launcher_client import LauncherClient

async def main():
    async with LauncherClient(socket.socket(fileno=int(sys.argv[-1]))).running() as client:
        driver = BubblewrapDriver(client)
        for n in range(3):
            spec = SandboxSpec(sandbox_id=f"sandbox-{n}", limits=Limits(memory_mib=128, tmp_mib=512))
            async with driver.open_sandbox(spec) as sandbox:
                order = Program(argv=["/bin/sleep", "600"], environ={}, trees=Trees(), output_fd=2)
                program = await sandbox.start(order)
                print(json.dumps({"event": "started", "program": program.pid}), flush=True)
                ended = await program.wait()
                print(json.dumps({"event": "ended", "signal": ended.signal}), flush=True)

asyncio.run(main())
"""


def test_the_real_launcher_is_replaced_under_a_living_server():
    source = str(Path(supervisor.__file__).parents[2])
    with open_roots() as roots:
        command = launcher_command(
            python=SYSTEM_PYTHON,
            code_root=roots.code,
            runtime_root=roots.runtime,
            interpreter_root=roots.interpreter,
            run_dir=roots.run,
        )
        server = [sys.executable, "-c", REAL_SERVER.replace("SOURCE", repr(source))]
        run = Supervised(command, server)
        try:
            for n in range(2):
                program = run.next(event="started")["program"]
                (launcher,) = children_with("launcher/main.py", run.process.pid)
                os.kill(launcher, signal.SIGKILL)
                assert run.next(event="ended")["signal"] == signal.SIGKILL, n
                until(lambda pid=program: not is_alive(pid))
            last = run.next(event="started")["program"]
            assert is_alive(last)
        finally:
            run.process.terminate()
            run.process.wait(30)
            run.process.stdout.close()
        assert not is_alive(last)
        assert [path.name for path in roots.run.iterdir()] == ["launcher.lock"]


def children_with(word, parent):
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in children if word in Path(f"/proc/{pid}/cmdline").read_text()]


def test_what_cannot_be_started_is_named_on_standard_error(tmp_path):
    order = {"launcher": [str(tmp_path / "absent")], "server": [SYSTEM_PYTHON, "-I", "-c", "raise SystemExit(3)"]}
    command = [SYSTEM_PYTHON, "-I", supervisor.__file__, json.dumps(order)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 3
    assert f"supervisor: cannot start {tmp_path / 'absent'}: [Errno 2] No such file" in done.stderr


def test_children_may_open_as_many_files_as_the_host_allows(start):
    report = "import resource\nsay('limits', files=resource.getrlimit(resource.RLIMIT_NOFILE))\nsignal.pause()\n"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        supervised = start(server=CHILD + report)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert supervised.next(event="limits")["files"] == [min(hard, supervisor.DESCRIPTORS), hard]

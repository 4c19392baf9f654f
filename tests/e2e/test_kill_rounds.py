"""``kill -9`` of every part, at random moments, under load: lost nothing, leaked nothing, ready again."""

import contextlib
import os
import random
import signal
import socket
import statistics
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from lambent.testing.process import LambentProcess

from . import aws
from .kill_load import Writer
from .leftovers import Leftovers

IS_FULL = os.environ.get("LAMBENT_ROUNDS") == "full"
ROUNDS = 200 if IS_FULL else 20
SEED = 4_566
VICTIMS = ("supervisor", "launcher", "server", "sandbox", "all")
WRITERS = 3
KEYS = {"key": "AKIAKILLROUNDS000000", "secret": "secret-of-the-kill-rounds"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def target(state_dir):
    """A server at one port for all its lives, which verifies signatures."""
    credential = {KEYS["key"]: {"secret": KEYS["secret"], "account": "000000000000"}}
    settings = {"port": free_port(), "signatures": "verify", "credentials": credential, "max_environments": 40}
    started = LambentProcess(state_dir, settings=settings)
    started.start()
    yield started
    started.kill()


class Rounds:
    """One server, its writers, and what each kill was found to cost."""

    def __init__(self, server) -> None:
        self.server = server
        self.left = Leftovers(server)
        self.choice = random.Random(SEED)
        self.client = aws.client("lambda", server.endpoint, read_timeout=20, **KEYS)
        self.probe = aws.create(self.client, "def handler(event, context):\n    return 'well'\n", Timeout=10)
        assert aws.invoke(self.client, self.probe).payload == "well"
        self.writers = [Writer(server.endpoint, SEED + number, **KEYS) for number in range(WRITERS)]
        self.held_at_first = self.steady()
        self.inside = Counter()
        self.again_s = defaultdict(list)

    def run(self, victim: str) -> None:
        """Kill ``victim`` at a random moment; go on when an invocation succeeds again."""
        time.sleep(self.choice.uniform(0.02, 0.4))  # the moment of the kill is what varies
        self.left.remember(self.server)
        pids = self.pids(victim)
        requests = [(writer, writer.begun) for writer in self.writers if writer.begun > writer.ended]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed_mono_s = time.monotonic()
        # The request that had begun before the kill had not ended after it.
        self.inside[victim] += any(writer.ended < begun for writer, begun in requests)
        if victim in ("supervisor", "all"):
            self.start_again(victim)
        self.wait_until_well()
        self.again_s[victim].append(time.monotonic() - killed_mono_s)
        assert [writer.faults for writer in self.writers] == [[]] * WRITERS, f"after the death of {victim}"

    def pids(self, victim: str) -> list[int]:
        """Return the processes to kill."""
        parts = defaultdict(list)
        for pid, line in self.server.processes():
            parts[part_of(line)].append(pid)
        if victim == "all":
            return [pid for found in parts.values() for pid in found]
        if victim == "sandbox":
            return [self.choice.choice(parts["sandbox"])] if parts["sandbox"] else []
        return parts[victim][:1]

    def held(self) -> dict[str, int]:
        """Return how much of each kind the living server holds with one environment."""
        lines = list(self.server.processes())
        parents = [pid for pid, line in lines if part_of(line) in ("supervisor", "launcher")]
        descriptors = sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in parents)
        held = {"processes": len(lines), "descriptors": descriptors, "files": len(self.left.files())}
        return {**held, "cgroups": len(self.left.cgroups()), "loops": len(self.left.loops())}

    def steady(self) -> dict[str, int]:
        """Return what is held once what is made in advance is made."""
        held: dict[str, int] = {}
        while held != (held := self.held()):
            time.sleep(0.3)
        return held

    def require_no_leak(self) -> None:
        """After a last death of the server what is held is what was held at first."""
        self.run("server")
        give_up_at = time.monotonic() + 10
        while (held := self.held()) != self.held_at_first:
            assert time.monotonic() < give_up_at, f"held {held}, at first {self.held_at_first}"
            time.sleep(0.05)

    def start_again(self, victim: str) -> None:
        """All dies with the supervisor. Where all is killed at once, what is frozen is left to the next start."""
        dying = set(self.left.living())
        give_up_at = time.monotonic() + (10.0 if victim == "supervisor" else 0.2)
        while dying & set(self.left.living()) and time.monotonic() < give_up_at:
            time.sleep(0.005)
        stragglers = dying & set(self.left.living())
        assert victim == "all" or not stragglers, [command_line(pid) for pid in stragglers]
        assert all(part_of(command_line(pid)) == "sandbox" for pid in stragglers)
        self.server.kill()
        self.server.start()
        assert not stragglers & set(self.left.living())

    def wait_until_well(self) -> None:
        """Return once the probe's function answers."""
        give_up_at = time.monotonic() + 30
        while True:
            with contextlib.suppress(BotoCoreError, HTTPClientError, ClientError):
                if aws.invoke(self.client, self.probe).payload == "well":
                    return
            assert time.monotonic() < give_up_at, "it never got well"
            time.sleep(0.01)


def command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def part_of(line: str) -> str:
    if "supervisor.py" in line:
        return "supervisor"
    if "launcher/main.py" in line:
        return "launcher"
    return "server" if "lambent.assembly.server" in line else "sandbox"


@pytest.mark.rounds
@pytest.mark.timeout(120 + 10 * ROUNDS)
def test_everything_acknowledged_survives_kills_at_random_moments(target, capsys):
    rounds = Rounds(target)
    for writer in rounds.writers:
        writer.start()
    for number in range(ROUNDS):
        rounds.run(VICTIMS[number % len(VICTIMS)])
    for writer in rounds.writers:
        writer.finish()
        writer.check_all()
    with capsys.disabled():
        report(rounds)
    assert [writer.faults for writer in rounds.writers] == [[]] * WRITERS
    rounds.require_no_leak()
    assert rounds.inside.total() >= ROUNDS / 4
    assert sum(writer.acknowledged for writer in rounds.writers) >= ROUNDS
    target.stop()
    assert rounds.left.all() == {}


def report(rounds) -> None:
    """Write what was measured; nothing here is a promise."""
    acknowledged = sum(writer.acknowledged for writer in rounds.writers)
    cut = sum(writer.cut for writer in rounds.writers)
    lines = [f"{ROUNDS} kills, {rounds.inside.total()} inside a request; {acknowledged} acknowledged, {cut} cut off"]
    for victim, times in rounds.again_s.items():
        lines.append(f"{victim:10} well again after {statistics.median(times):.2f} s, at most {max(times):.2f} s")
    sys.stdout.write("\n" + "\n".join(lines) + "\n")

"""What is measured: a whole Lambent with signatures verified; and H, the bare answer, in a process of its own."""

import base64
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from benchmarks.bench import cpu_s, memory_mib
from benchmarks.functions import EVENT, MEMORY_MIB, PLAIN, ROLE, Deployment
from benchmarks.load import FUNCTIONS, KEY, SECRET, Load, drive, send_all, signed, signed_invoke, signed_invokes
from lambent.testing.process import LambentProcess

SETTINGS = {
    "signatures": "verify",
    "credentials": {KEY: {"secret": SECRET, "account": "000000000000"}},
    "memory_budget_mib": 1 << 20,  # a promise, not memory: environments are not to be ended to make room
}
# A server that used less than this of a core for a second has done what it had to do.
QUIET_CORES = 0.02
QUIET_LIMIT_S = 300.0


class Endpoint:
    """Something that answers Invoke for signed requests."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80

    def register(self, names: Sequence[str], *, clients: int = 4, deployment: Deployment = PLAIN) -> None:
        """Create a function of each name, all alike."""
        body = {
            "Runtime": deployment.runtime,
            "Role": ROLE,
            "Handler": deployment.handler,
            "Code": {"ZipFile": base64.b64encode(deployment.package()).decode()},
            "MemorySize": MEMORY_MIB,
            "Timeout": 20,
            "Environment": {"Variables": dict(deployment.variables)},
        }
        bodies = (json.dumps({"FunctionName": name, **body}).encode() for name in names)
        send_all(
            self.host, self.port, (signed(self.host, self.port, FUNCTIONS, each) for each in bodies), clients=clients
        )

    def wait_for(self, name: str, limit_s: float = 60.0) -> None:
        """Return once ``name`` was invoked well."""
        give_up_at = time.monotonic() + limit_s
        while True:
            try:
                self.drive(clients=1, count=1, name=name)
                return
            except RuntimeError:
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(0.1)

    def drive(self, *, clients: int, count: int, name: str = "f") -> Load:
        """Invoke ``name`` so often from each client."""
        requests = signed_invokes(self.host, self.port, name, EVENT) if count > 1 else [self._one(name)]
        return drive(self.host, self.port, requests, clients=clients, count=count)

    def _one(self, name: str) -> bytes:
        return signed_invoke(self.host, self.port, name, EVENT)

    def invoke_each(self, names: Sequence[str]) -> Load:
        """Invoke each function once, one after the other, on a connection of its own."""
        return Load([self.drive(clients=1, count=1, name=name).latencies_s[0] for name in names], 0.0)


class Lambent(Endpoint):
    """A running one."""

    def __init__(self, process: LambentProcess) -> None:
        super().__init__(process.endpoint)
        self._process = process
        self.server_pid = int(json.loads((process.run_dir / "endpoint.json").read_text())["pid"])
        self.ready_s = process.ready_s

    def cpu_s(self) -> float:
        """Return the CPU time of the server process so far."""
        return cpu_s(self.server_pid)

    def own_cpu_s(self) -> float:
        """Return the CPU time of supervisor, launcher and server together, without any function's."""
        children = [
            int(child)
            for task in Path(f"/proc/{self._process.pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
        return cpu_s(self._process.pid) + sum(map(cpu_s, children))

    def memory_mib(self) -> float:
        """Return the resident memory of the server process."""
        return memory_mib(
            next(pid for pid, command in self._process.processes() if "lambent.assembly.server" in command)
        )

    def queued(self, name: str) -> int:
        """Return how many events of a function are queued."""
        request = AWSRequest(
            "GET", f"http://{self.host}:{self.port}/_lambent/queues", headers={"Host": f"{self.host}:{self.port}"}
        )
        SigV4Auth(Credentials(KEY, SECRET), "lambda", "us-east-1").add_auth(request)
        url = urllib.request.Request(request.url, headers=dict(request.headers.items()))
        with urllib.request.urlopen(url) as answer:
            rows = [row for row in json.load(answer)["queues"] if row["function"] == name]
        return sum(row["visible"] + row["in_flight"] + row["delayed"] for row in rows)

    def settle(self) -> None:
        """Return once the server has nothing more to do."""
        give_up_at = time.monotonic() + QUIET_LIMIT_S
        while time.monotonic() < give_up_at:
            before = self.own_cpu_s()
            time.sleep(1)
            if self.own_cpu_s() - before < QUIET_CORES:
                return
        raise RuntimeError("the server does not come to rest")


@contextmanager
def open_lambent(state_dir: Path | None = None, *, weaken: Sequence[str] = (), **settings: object) -> Iterator[Lambent]:
    """Yield a whole Lambent without the defences ``weaken``; ``settings`` besides those of every benchmark."""
    with LambentProcess(state_dir, settings={**SETTINGS, **settings}, weaken=weaken) as process:
        yield Lambent(process)


class BareServer:
    """H."""

    def __init__(self, pid: int, port: int) -> None:
        self._pid, self._port = pid, port

    def cpu_s(self) -> float:
        """Return its CPU time so far."""
        return cpu_s(self._pid)

    def drive(self, *, clients: int, count: int) -> Load:
        """Send it what Lambent gets."""
        requests = signed_invokes("127.0.0.1", self._port, "f", EVENT)
        return drive("127.0.0.1", self._port, requests, clients=clients, count=count)


@contextmanager
def open_bare_server() -> Iterator[BareServer]:
    """Yield H in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.bare", "answers"]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield BareServer(process.pid, int(process.stdout.readline()))
        process.stdout.close()
    finally:
        process.kill()
        process.wait()

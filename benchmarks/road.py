"""The road of a warm invocation in memory: everything of ours, no kernel, no other process, nothing to wait for.

What it costs here is what Python costs; how many calls, tasks and writes it takes is the same on every machine.

    python -m benchmarks.road [--calls 2000] [--rounds 20] [--profile]
"""

import argparse
import asyncio
import contextlib
import cProfile
import pstats
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import uvloop

from benchmarks.functions import EVENT, MEMORY_MIB
from benchmarks.load import KEY, SECRET, signed_invoke
from lambent.access.credentials import Credential
from lambent.access.origins import OriginRules
from lambent.access.sigv4 import SignatureVerifier
from lambent.assembly.clock import SystemClock
from lambent.environment.assignment import Assigner
from lambent.environment.deadlines import Deadlines
from lambent.environment.environment import EnvironmentTools
from lambent.environment.environments import Environments
from lambent.environment.freezing import Freezing
from lambent.environment.placement import PoolLimits
from lambent.frontend.answers import Answers
from lambent.frontend.calls import Calls
from lambent.frontend.gateway import Gateway
from lambent.frontend.invoke import InvokeDoor
from lambent.http.application import Application
from lambent.http.limits import PATIENT, HttpLimits
from lambent.http.server import HttpServer
from lambent.invoke.access import FunctionPolicies
from lambent.invoke.concurrency import Concurrency
from lambent.invoke.invoker import Invoker
from lambent.invoke.records import InvocationRecords
from lambent.model.functions import FunctionVersion, LogSettings
from lambent.model.ids import Digest, Scope, TreeName
from lambent.observe.billing import Billing
from lambent.observe.log_writer import LogWriter
from lambent.observe.metrics import FunctionMetrics, PlatformMetrics
from lambent.observe.stream_log import StreamEnvironmentLog
from lambent.sandbox.driver import Usage
from lambent.testing.recording_driver import FixedCredentials
from lambent.wire.service import ServiceCodec

VERSION = FunctionVersion(
    scope=Scope("000000000000", "us-east-1"),
    name="f",
    version="$LATEST",
    generation=1,
    runtime="python3.13",
    handler="app.handler",
    role="arn:aws:iam::000000000000:role/r",
    memory_mib=MEMORY_MIB,
    timeout_s=20,
    tmp_mib=512,
    code=Digest("a" * 64),
    code_bytes=1,
    log=LogSettings(group="/aws/lambda/f"),
)
NEXT = b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\nAccept: */*\r\nUser-Agent: bench\r\n\r\n"
RESPONSE = (
    b"POST /2018-06-01/runtime/invocation/%b/response HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n"
    b"User-Agent: bench\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
)


class Wire(asyncio.Transport):
    """A transport that ends in a function."""

    def __init__(self, taken: Callable[[bytes], None]) -> None:
        super().__init__()
        self._taken = taken
        self.writes = 0

    def write(self, data: bytes) -> None:  # type: ignore[override]
        """Hand it on."""
        self.writes += 1
        self._taken(data)

    def is_closing(self) -> bool:
        """Never."""
        return False

    def get_write_buffer_size(self) -> int:
        """Nothing waits."""
        return 0

    def abort(self) -> None:
        """Nothing is open."""


class Runtime:
    """What awslambdaric says, at the other end of a wire."""

    def __init__(self, server: HttpServer) -> None:
        self._connection = server._make_connection()
        self.wire = Wire(self._taken)
        self._connection.connection_made(self.wire)
        self._say(NEXT)

    def _taken(self, data: bytes) -> None:
        if data.startswith(b"HTTP/1.1 202"):
            self._say(NEXT)
            return
        at = data.index(b"Request-Id: ") + 12
        self._say(RESPONSE % (data[at : at + 36], len(EVENT), EVENT))

    def _say(self, data: bytes) -> None:
        asyncio.get_running_loop().call_soon(self._connection.data_received, data)


class Sandboxes:
    """A driver and the servers in its sandboxes."""

    def __init__(self) -> None:
        self.runtimes: list[Runtime] = []
        self._application: Any = None

    @asynccontextmanager
    async def open_sandbox(self, spec: object) -> AsyncIterator[Any]:
        """Yield itself: there is nothing to open."""
        yield self

    def unsupported(self, spec: object) -> tuple[()]:
        """Return nothing."""
        return ()

    @asynccontextmanager
    async def open_server(
        self, application: Application, listener: object, limits: object = None
    ) -> AsyncIterator[None]:
        """Keep the application for the program that is started next, if it is the Runtime API."""
        if listener == self.listener:
            self._application = application
        yield

    listener, endpoint_listener = "of the Runtime API", "of the AWS endpoint"
    runtime_api, endpoint = "127.0.0.1:9001", "127.0.0.1:4566"

    def path(self, inside: str) -> str:
        """Return the same."""
        return inside

    async def start(self, program: object) -> Any:
        """Connect a runtime."""
        server = HttpServer(self._application, PATIENT, clock_mono=time.monotonic)
        self.runtimes.append(Runtime(server))
        forever: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def kill() -> None:
            forever.cancel()

        return SimpleNamespace(wait=lambda: _wait(forever), kill=kill)

    async def set_limits(self, limits: object) -> None:
        """Have none."""

    async def usage(self) -> Usage:
        """Return a guess."""
        return Usage(40)

    def freeze(self) -> None:
        """Nothing runs in it."""

    def thaw(self) -> None:
        """Nothing stood in it."""

    def held_memory_bytes(self) -> int:
        """Return what an idle environment holds."""
        return 20 << 20


async def _wait(future: asyncio.Future[None]) -> Any:
    with contextlib.suppress(asyncio.CancelledError):
        await future
    return SimpleNamespace(code=0, signal=None, out_of_memory=False)


@dataclass(slots=True)
class Road:
    """One server in memory with a client at its door."""

    sandboxes: Sandboxes
    client: Any
    wire: Wire
    records: InvocationRecords
    answered: asyncio.Queue[bytes]

    async def invoke(self, request: bytes) -> bytes:
        """Return the answer to one request; the environment is free again then."""
        self.client.data_received(request)
        answer = await self.answered.get()
        for _ in range(6):  # the runtime's way back to `next`
            await asyncio.sleep(0)
        return answer


@asynccontextmanager
async def open_road() -> AsyncIterator[Road]:
    """Yield the road with all that a server has on it: signatures, logs, records, metrics, bills."""
    clock, sandboxes = SystemClock(), Sandboxes()
    events: Any = SimpleNamespace(append=_nothing)
    stream = SimpleNamespace(name="s", disorder_ms=1 << 20)
    groups: Any = SimpleNamespace(
        ensure_stream=lambda *names: _value((None, stream)), source=lambda group, stream: SimpleNamespace(name="s")
    )
    writer = LogWriter(groups, events, clock)
    records = InvocationRecords(clock, (FunctionMetrics(PlatformMetrics()), Billing()))
    anything: Any = sandboxes
    deadlines = Deadlines(clock)
    tools = EnvironmentTools(
        driver=anything,
        servers=anything,
        endpoint=FixedCredentials.no_endpoint,
        assigner=Assigner(_Runtimes(), _Code(), FixedCredentials(), Path("/nonexistent")),
        open_log=lambda version, environment_id, at: StreamEnvironmentLog(writer, version, environment_id, at),
        clock=clock,
        deadlines=deadlines,
        freezing=Freezing(clock),
        record=records.record_invocation,
    )
    credential = Credential(
        access_key=KEY, secret=SECRET, account_id="000000000000", arn="arn:aws:iam::000000000000:root"
    )
    verifier = SignatureVerifier("verify", SimpleNamespace(find_credential=lambda key: credential), clock)
    answers, codec, calls = Answers(clock), ServiceCodec.load("lambda"), Calls()
    async with Environments(tools, PoolLimits(drain_s=0.1)) as environments:
        view: Any = SimpleNamespace(resolve=lambda target: VERSION)
        invoker = Invoker(FunctionPolicies(lambda target: ()), view, Concurrency(), environments, clock)
        door = InvokeDoor(invoker, codec, verify=verifier.verify, clock=clock, answers=answers, accept_event=_nothing)
        gateway = Gateway(
            {},
            door,
            decide_origin=OriginRules("127.0.0.1", ()).decide,
            verify=verifier.verify,
            answers=answers,
            calls=calls,
            open_code=_nothing,
            find_trouble=lambda: None,
        )
        server = HttpServer(gateway, HttpLimits(), clock_mono=clock.mono_s)
        answered: asyncio.Queue[bytes] = asyncio.Queue()
        wire, client = Wire(answered.put_nowait), server._make_connection()
        client.connection_made(wire)
        loops = [asyncio.create_task(writer.run()), asyncio.create_task(records.run())]
        try:
            yield Road(sandboxes, client, wire, records, answered)
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await calls.close(0)


async def _nothing(*values: object) -> Any:
    return None


async def _value(value: Any) -> Any:
    return value


class _Runtimes:
    async def prepare(self, identifier: str, architecture: str) -> Any:
        return SimpleNamespace(
            identifier=identifier,
            argv=("/var/runtime/bootstrap",),
            runtime_tree=TreeName("runtime"),
            interpreter_tree=None,
            environ=(),
            bootstrap_candidates=(),
            version=None,
            version_arn=lambda region: None,
            python=None,
        )


class _Code:
    async def ensure_tree(self, digest: Digest) -> TreeName:
        return TreeName(digest)

    async def ensure_bytecode(self, digest: Digest, python: object) -> TreeName | None:
        return None

    def in_use(self, digest: Digest) -> contextlib.AbstractContextManager[object]:
        return contextlib.nullcontext()


def request() -> bytes:
    """Return a signed Invoke."""
    return signed_invoke("127.0.0.1", 4566, "f", EVENT)


async def count_calls(road: Road, calls: int) -> float:
    """Return how many functions, Python's and C's, one warm invocation calls, the runtime at the wire included."""
    counted, signed = 0, [request() for _ in range(calls)]

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        for each in signed:
            await road.invoke(each)
    finally:
        sys.setprofile(None)
    return counted / calls


async def main(calls: int, rounds: int, profile: bool) -> None:
    """Measure and print."""
    async with open_road() as road:
        signed = [request() for _ in range(100)]
        for each in signed:
            await road.invoke(each)
        profiler = cProfile.Profile()
        if profile:
            profiler.enable()
        times_us = []
        for _ in range(rounds):
            before = time.process_time()
            for number in range(calls):
                await road.invoke(signed[number % len(signed)])
            times_us.append((time.process_time() - before) / calls * 1e6)
        profiler.disable()
        print(f"{min(times_us):.1f} us CPU per invocation (least), {statistics.median(times_us):.1f} us (median)")
        print(f"{await count_calls(road, 200):.0f} calls of functions per invocation")
        if profile:
            pstats.Stats(profiler).sort_stats("tottime").print_stats(60)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    uvloop.run(main(options.calls, options.rounds, options.profile))

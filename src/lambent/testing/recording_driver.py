"""A sandbox driver without sandboxes: the program is a coroutine that speaks the Runtime API over a real socket.

Everything asked of the driver is kept in ``calls``, in order. It isolates nothing and is for tests alone.
"""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from lambent.http.application import Application
from lambent.model.errors import HostError
from lambent.model.functions import FunctionVersion
from lambent.model.ids import RequestId, SandboxId
from lambent.model.invocations import InitRecord, InvocationRecord
from lambent.sandbox.driver import Exit, Limits, Program, Refusal, Sandbox, SandboxSpec, Trees, Usage

TEXT_FRAME = 0xA55A0003


class ProgramExit(BaseException):
    """Raised by a script to end its program in a certain way."""

    def __init__(self, code: int | None = 0, signal: int | None = None, *, out_of_memory: bool = False) -> None:
        super().__init__(code, signal)
        self.exit = Exit(code, signal, out_of_memory)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer of the Runtime API; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ScriptedRuntime:
    """What a script has in hand: the program it plays, and a connection to the Runtime API."""

    def __init__(self, program: Program, address: tuple[str, int], number: int) -> None:
        self.program = program
        self.number = number  # 1 for the first program of the sandbox
        self._address = address
        self._output = os.dup(program.output_fd)
        self._log = None if program.log_fd is None else os.dup(program.log_fd)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def next(self) -> HttpAnswer:
        """Ask for the next event; returns when there is one."""
        return await self.call("GET", "/2018-06-01/runtime/invocation/next")

    async def respond(self, event: HttpAnswer, body: bytes, headers: Mapping[str, str] | None = None) -> HttpAnswer:
        """Post the result of ``event``."""
        return await self._post(event, "response", body, headers or {})

    async def fail(self, event: HttpAnswer, body: bytes, error_type: str = "Runtime.Oops") -> HttpAnswer:
        """Post an error of ``event``."""
        return await self._post(event, "error", body, {"Lambda-Runtime-Function-Error-Type": error_type})

    async def fail_init(self, body: bytes, error_type: str = "Runtime.Oops") -> HttpAnswer:
        """Post an error of the initialisation."""
        headers = {"Lambda-Runtime-Function-Error-Type": error_type}
        return await self.call("POST", "/2018-06-01/runtime/init/error", headers, body)

    async def call(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> HttpAnswer:
        """Send one request and return its answer."""
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: api",
            *(f"{key}: {value}" for key, value in (headers or {}).items()),
        ]
        if method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        return await self.call_raw("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    async def call_raw(self, request: bytes) -> HttpAnswer:
        """Send ``request`` as it stands and read one answer."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in head[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return HttpAnswer(int(head[0].split(" ")[1]), headers, body)

    def print(self, text: bytes) -> None:
        """Write to stdout."""
        os.write(self._output, text)

    def log(self, message: bytes, *, kind: int = TEXT_FRAME, at_us: int = 0) -> None:
        """Write one framed message to descriptor 62."""
        if self._log is not None:
            os.write(self._log, struct.pack(">IIQ", kind, len(message), at_us) + message)

    def hang_up(self) -> None:
        """Close the connection; the next call opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    def close(self) -> None:
        """What the kernel does when a process ends."""
        self.hang_up()
        os.close(self._output)
        if self._log is not None:
            os.close(self._log)

    async def _post(self, event: HttpAnswer, kind: str, body: bytes, headers: Mapping[str, str]) -> HttpAnswer:
        request_id = event.headers["lambda-runtime-aws-request-id"]
        return await self.call("POST", f"/2018-06-01/runtime/invocation/{request_id}/{kind}", headers, body)


Script = Callable[[ScriptedRuntime], Awaitable[None]]


class RecordingProgram:
    """A running script."""

    def __init__(self, script: Script, runtime: ScriptedRuntime, calls: list[tuple[object, ...]]) -> None:
        self._calls = calls
        self._exited: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._task = asyncio.get_running_loop().create_task(self._play(script, runtime), name="scripted runtime")

    @property
    def pid(self) -> int:
        """Our own: there is no other process."""
        return os.getpid()

    async def wait(self) -> Exit:
        """Return how the script ended."""
        return await asyncio.shield(self._exited)

    async def assign(self, trees: Trees, limits: Limits) -> None:
        """Keep what was asked."""
        self._calls.append(("assign", trees, limits))

    async def signal(self, number: int) -> None:
        """Keep what was asked."""
        self._calls.append(("signal", number))

    async def kill(self) -> None:
        """End the script as SIGKILL would."""
        self._calls.append(("kill",))
        self._task.cancel()
        await asyncio.wait((self._exited,))

    async def _play(self, script: Script, runtime: ScriptedRuntime) -> None:
        ended = Exit(0, None)
        try:
            await script(runtime)
        except ProgramExit as raised:
            ended = raised.exit
        except asyncio.CancelledError:
            ended = Exit(None, 9)
        except Exception as error:  # noqa: BLE001 - an uncaught exception ends a program with status 1
            self._calls.append(("script_raised", repr(error)))
            ended = Exit(1, None)
        finally:
            runtime.close()
            self._exited.set_result(ended)


class RecordingSandbox:
    """One sandbox: two listening sockets and the calls it got."""

    def __init__(self, spec: SandboxSpec, script: Script, calls: list[tuple[object, ...]]) -> None:
        self.spec = spec
        self.peak_memory_mib = 42
        self.held_mib = 12
        self.programs: list[Program] = []
        self._script = script
        self._calls = calls
        self._listener, self._endpoint_listener = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
        self._listener.setblocking(False)
        self._endpoint_listener.setblocking(False)
        self._running: RecordingProgram | None = None

    @property
    def sandbox_id(self) -> SandboxId:
        """The id it was made with."""
        return self.spec.sandbox_id

    @property
    def listener(self) -> socket.socket:
        """On loopback, at a port of its own."""
        return self._listener

    @property
    def runtime_api(self) -> str:
        """host:port."""
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    @property
    def endpoint_listener(self) -> socket.socket:
        """On loopback, at a port of its own."""
        return self._endpoint_listener

    @property
    def endpoint(self) -> str:
        """host:port."""
        host, port = self._endpoint_listener.getsockname()
        return f"{host}:{port}"

    def path(self, inside: str) -> str:
        """The same text, as isolating drivers have it."""
        return inside

    async def start(self, program: Program) -> RecordingProgram:
        """Play the script from its beginning."""
        self.programs.append(program)
        self._calls.append(("start", len(self.programs)))
        runtime = ScriptedRuntime(program, self._listener.getsockname(), len(self.programs))
        self._running = RecordingProgram(self._script, runtime, self._calls)
        return self._running

    async def set_limits(self, limits: Limits) -> None:
        """Keep what was asked."""
        self._calls.append(("set_limits", limits))

    async def open_outbound(self) -> socket.socket:
        """Return a socket of this host: there is no other network."""
        outbound = socket.socket()
        outbound.setblocking(False)
        return outbound

    def freeze(self) -> None:
        """Keep what was asked."""
        self._calls.append(("freeze",))

    def thaw(self) -> None:
        """Keep what was asked."""
        self._calls.append(("thaw",))

    def held_memory_bytes(self) -> int | None:
        """Return ``held_mib``, in bytes."""
        return self.held_mib << 20

    async def usage(self) -> Usage:
        """Return ``peak_memory_mib``."""
        return Usage(self.peak_memory_mib)

    async def close(self) -> None:
        """End what runs; the socket is gone."""
        if self._running is not None:
            await self._running.kill()
        self._listener.close()
        self._endpoint_listener.close()


@dataclass
class RecordingDriver:
    """Plays ``script`` in every sandbox."""

    script: Script
    refusals: Sequence[Refusal] = ()
    failures: list[HostError] = field(default_factory=list)  # raised by the next sandboxes that are opened
    calls: list[tuple[object, ...]] = field(default_factory=list)
    sandboxes: list[RecordingSandbox] = field(default_factory=list)
    open_count: int = 0

    @asynccontextmanager
    async def open_sandbox(self, spec: SandboxSpec) -> AsyncIterator[Sandbox]:
        """Yield a sandbox that isolates nothing."""
        if self.failures:
            raise self.failures.pop(0)
        self.calls.append(("open", spec))
        sandbox = RecordingSandbox(spec, self.script, self.calls)
        self.sandboxes.append(sandbox)
        self.open_count += 1
        try:
            yield sandbox
        finally:
            await sandbox.close()
            self.open_count -= 1
            self.calls.append(("close", spec.sandbox_id))

    def unsupported(self, spec: SandboxSpec) -> Sequence[Refusal]:
        """Return ``refusals``."""
        return self.refusals


class FixedCredentials:
    """A ``CredentialIssuer`` whose every session issues the same, and the endpoint that nobody calls with it."""

    @contextmanager
    def open_session(self, version: FunctionVersion) -> Iterator["FixedCredentials"]:
        """Yield itself."""
        yield self

    def issue(self) -> tuple[str, str, str]:
        """Return key, secret and token."""
        return ("ASIAKEY", "secret", "token")

    def find_credential(self, access_key: str) -> None:
        """Know none."""

    @staticmethod
    def no_endpoint(credentials: object) -> Application:
        """Return what is behind an AWS endpoint that is not called."""
        return cast("Application", credentials)


class RecordingLog:
    """An ``EnvironmentLog`` that keeps what it is told, as (kind, value) in order."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, object]] = []

    def init_started(self, record: InitRecord) -> None:
        """Keep it."""
        self.entries.append(("init_started", record))

    def init_ended(self, record: InitRecord) -> None:
        """Keep it."""
        self.entries.append(("init_ended", record))

    def invocation_started(self, request_id: RequestId, version: str, at: datetime, *, wants_tail: bool) -> None:
        """Keep it."""
        self.entries.append(("started", request_id))

    def output(self, message: bytes, at: datetime, *, level: str | None = None) -> None:
        """Keep it."""
        self.entries.append(("output", message))

    def invocation_ended(self, record: InvocationRecord) -> None:
        """Keep it."""
        self.entries.append(("ended", record))

    def take_tail(self) -> bytes:
        """Return the kinds and messages so far, a line each."""
        return b"".join(
            value if kind == "output" and isinstance(value, bytes) else f"{kind}\n".encode()
            for kind, value in self.entries
        )

    @property
    def kinds(self) -> list[str]:
        """What it was told, in order."""
        return [kind for kind, _ in self.entries]

    @property
    def messages(self) -> list[bytes]:
        """What the function printed, an event each."""
        return [value for kind, value in self.entries if kind == "output" and isinstance(value, bytes)]

    @property
    def records(self) -> list[InvocationRecord]:
        """The records of invocations that ended."""
        return [value for kind, value in self.entries if isinstance(value, InvocationRecord)]

    @property
    def inits(self) -> list[InitRecord]:
        """The records of INITs that ended."""
        return [value for kind, value in self.entries if kind == "init_ended" and isinstance(value, InitRecord)]

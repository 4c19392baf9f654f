"""The server's side of the launcher's protocol, on the loop: many requests in flight, descriptors, exits as events.

The channel outlives both ends: the supervisor keeps it. A launcher that starts anew says so, and every sandbox of
the one before is known to be dead. The protocol stands in docs/launcher-protocol.md.
"""

import asyncio
import collections
import contextlib
import json
import os
import secrets
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import structlog

from lambent.model.errors import HostError
from lambent.sandbox.driver import Exit, Refusal

MESSAGE_LIMIT_BYTES: Final = 128 << 10
DESCRIPTOR_LIMIT: Final = 8
READY_LIMIT_S: Final = 20.0
ANSWER_LIMIT_S: Final = 20.0
WAITING_LIMIT: Final = 10_000

log = structlog.get_logger()


class LauncherLost(HostError):
    """The launcher died, and with it every sandbox that it had made."""


class LauncherClient:
    """Speaks to whichever launcher is at the other end of ``channel``. Use it within ``running()``."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._launcher: str | None = None
        self._missing: tuple[Refusal, ...] = ()
        # Answers of a dead launcher to a dead server may wait in the channel: ids that nobody can confuse.
        self._next_id = secrets.randbits(48) + 1
        self._replies: dict[int, asyncio.Future[tuple[dict[str, Any], list[int]]]] = {}
        self._exits: dict[tuple[str, int], asyncio.Future[Exit]] = {}
        self._outbox: collections.deque[tuple[bytes, list[int], int]] = collections.deque()
        self._ready = asyncio.Event()
        self._is_closed = False
        self._greeting: asyncio.Task[None] | None = None
        self._generation = 0

    @property
    def generation(self) -> int:
        """Rises with every launcher that answered: sandboxes of an earlier one are dead."""
        return self._generation

    @property
    def missing(self) -> Sequence[Refusal]:
        """What the launcher cannot enforce on this host."""
        return self._missing

    @asynccontextmanager
    async def running(self) -> AsyncIterator["LauncherClient"]:
        """Connect, and yield when a launcher has answered. HostError if none does in time."""
        loop = asyncio.get_running_loop()
        self._channel.setblocking(False)
        loop.add_reader(self._channel.fileno(), self._receive)
        self._greet()
        try:
            await self._wait_ready()
            yield self
        finally:
            loop.remove_reader(self._channel.fileno())
            loop.remove_writer(self._channel.fileno())
            await self._end_greeting()
            self._lose("the server is closing")

    async def call(
        self, operation: str, fields: Mapping[str, object], *, descriptors: Sequence[int] = ()
    ) -> tuple[Mapping[str, Any], dict[str, int]]:
        """Send one request; return the launcher's answer and, by name, what it sent along, which the caller then owns.

        HostError has the launcher's words when it refused; LauncherLost if it died.
        """
        await self._wait_ready()
        reply, received = await self._send(operation, descriptors, fields)
        named = reply.get("sent", ())
        if len(received) != len(named):
            _close_all(received)
            raise HostError(f"{operation}: the launcher sent {len(received)} descriptors instead of {len(named)}")
        return reply, dict(zip(named, received, strict=True))

    def post(self, operation: str, fields: Mapping[str, object]) -> None:
        """Send a request whose answer nobody waits for: to take back what a cancelled one may have done."""
        if self._ready.is_set() and not self._is_closed:
            self._push(operation, (), fields)

    def expect_exit(self, sandbox: str, program: int) -> asyncio.Future[Exit]:
        """Return what will be the exit of a program. Ask before it is started, so that none is missed."""
        future: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._exits[(sandbox, program)] = future
        return future

    def forget_exit(self, sandbox: str, program: int) -> None:
        """Undo ``expect_exit`` of a program that did not start."""
        if future := self._exits.pop((sandbox, program), None):
            future.cancel()

    async def _wait_ready(self) -> None:
        try:
            async with asyncio.timeout(READY_LIMIT_S):
                await self._ready.wait()
        except TimeoutError:
            raise HostError("the launcher does not answer") from None
        if self._is_closed:
            raise LauncherLost("the launcher has ended; its words are in the log")

    async def _send(
        self, operation: str, descriptors: Sequence[int], fields: Mapping[str, object]
    ) -> tuple[dict[str, Any], list[int]]:
        future: asyncio.Future[tuple[dict[str, Any], list[int]]] = asyncio.get_running_loop().create_future()
        identifier = self._push(operation, descriptors, fields, future)
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                return await future
        except TimeoutError:
            raise HostError(f"{operation}: the launcher did not answer within {ANSWER_LIMIT_S:.0f} s") from None
        finally:
            self._replies.pop(identifier, None)

    def _push(
        self,
        operation: str,
        descriptors: Sequence[int],
        fields: Mapping[str, object],
        future: asyncio.Future[tuple[dict[str, Any], list[int]]] | None = None,
    ) -> int:
        identifier = self._next_id
        self._next_id += 1
        message = {"id": identifier, "op": operation, "launcher": self._launcher or "", **fields}
        packet = json.dumps(message, separators=(",", ":")).encode()
        if len(packet) > MESSAGE_LIMIT_BYTES:
            raise HostError(f"{operation}: {len(packet)} bytes are too many for the launcher's protocol")
        if len(self._outbox) >= WAITING_LIMIT:
            raise HostError("the launcher does not read")
        if future is not None:
            self._replies[identifier] = future
        self._outbox.append((packet, [os.dup(descriptor) for descriptor in descriptors], identifier))
        self._flush()
        return identifier

    def _greet(self) -> None:
        # One at a time: a launcher that dies while it is greeted is followed by one that is greeted again.
        if self._greeting is not None:
            self._greeting.cancel()
        self._greeting = asyncio.get_running_loop().create_task(self._say_hello(), name="launcher hello")

    async def _say_hello(self) -> None:
        try:
            facts, received = await self._send("hello", (), {"server": secrets.token_hex(8)})
        except HostError as error:
            log.error("launcher_hello_refused", reason=str(error))
            return
        _close_all(received)
        self._launcher = str(facts["launcher"])
        self._missing = tuple(Refusal(entry["setting"], entry["reason"], entry["remedy"]) for entry in facts["missing"])
        self._generation += 1
        self._ready.set()

    async def _end_greeting(self) -> None:
        if self._greeting is not None:
            self._greeting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._greeting

    def _receive(self) -> None:
        for _ in range(64):
            try:
                packet, descriptors, _, _ = self._receive_packet()
            except BlockingIOError:
                return
            except OSError:
                packet, descriptors = b"", []
            if not packet:
                asyncio.get_running_loop().remove_reader(self._channel.fileno())
                self._lose("the launcher's channel is closed")
                self._is_closed = True
                self._ready.set()
                return
            self._handle(json.loads(packet), descriptors)

    def _receive_packet(self) -> tuple[bytes, list[int], int, Any]:
        return socket.recv_fds(self._channel, MESSAGE_LIMIT_BYTES, DESCRIPTOR_LIMIT, socket.MSG_CMSG_CLOEXEC)

    def _handle(self, message: dict[str, Any], descriptors: list[int]) -> None:
        match message:
            case {"event": "launcher", "launcher": launcher}:
                _close_all(descriptors)
                if launcher != self._launcher:
                    self._meet(launcher)
            case {"event": "exit", "launcher": launcher, "sandbox": sandbox, "program": program}:
                _close_all(descriptors)
                future = self._exits.pop((sandbox, program), None)
                if launcher == self._launcher and future is not None and not future.done():
                    future.set_result(Exit(message["code"], message["signal"], message["out_of_memory"]))
            case {"id": identifier}:
                self._answer(self._replies.pop(identifier, None), message, descriptors)
            case _:
                _close_all(descriptors)
                log.warning("launcher_message_unknown")

    def _answer(
        self,
        future: asyncio.Future[tuple[dict[str, Any], list[int]]] | None,
        message: dict[str, Any],
        descriptors: list[int],
    ) -> None:
        if future is None or future.done():
            _close_all(descriptors)
        elif "error" in message:
            _close_all(descriptors)
            future.set_exception(HostError(message["error"]))
        else:
            future.set_result((message["ok"], descriptors))

    def _meet(self, launcher: str) -> None:
        """Another launcher is there now."""
        if self._launcher is not None:
            log.warning("launcher_restarted")
            self._lose("the launcher died")
            self._greet()

    def _lose(self, reason: str) -> None:
        """Everything that the launcher had is dead; whoever waits for it hears so."""
        self._launcher = None
        self._ready.clear()
        exits, self._exits = self._exits, {}
        for exited in exits.values():
            if not exited.done():
                exited.set_result(Exit(None, 9))
        replies, self._replies = self._replies, {}
        for reply in replies.values():
            if not reply.done():
                reply.set_exception(LauncherLost(reason))
        while self._outbox:
            _close_all(self._outbox.popleft()[1])

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        while self._outbox:
            packet, descriptors, identifier = self._outbox[0]
            try:
                socket.send_fds(self._channel, [packet], descriptors)
            except BlockingIOError:
                loop.add_writer(self._channel.fileno(), self._flush)
                return
            except OSError as error:
                future = self._replies.pop(identifier, None)
                if future is not None and not future.done():
                    future.set_exception(LauncherLost(f"the launcher's channel: {error}"))
            self._outbox.popleft()
            _close_all(descriptors)
        loop.remove_writer(self._channel.fileno())


def launcher_path() -> Path:
    """Return the launcher's executable file, which AppArmor and systemd can name."""
    return Path(__file__).parent / "launcher" / "main.py"


def launcher_command(
    *,
    python: str,
    code_root: Path,
    runtime_root: Path,
    interpreter_root: Path,
    run_dir: Path,
    disk_dir: Path | None = None,
    interpreters: Mapping[str, Path] | None = None,
) -> list[str]:
    """Return the launcher's command line but for its last word, the channel's descriptor.

    The four directories must exist. ``disk_dir`` (default ``run_dir``) holds what sandboxes write to /tmp and must not
    be a tmpfs. ``interpreters``: directories elsewhere on the host, by the name that ``Trees.interpreter`` uses.
    """
    command = [python, "-I", str(launcher_path()), "--code-root", str(code_root), "--runtime-root", str(runtime_root)]
    command += ["--interpreter-root", str(interpreter_root), "--run-dir", str(run_dir)]
    command += ["--disk-dir", str(disk_dir or run_dir)]
    for name, path in (interpreters or {}).items():
        command += ["--interpreter", f"{name}={path}"]
    return command


def _close_all(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)

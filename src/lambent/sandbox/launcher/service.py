"""The launcher's loop: one thread, one epoll. Operations answer at once or when what they wait for has happened.

Nothing here blocks for long: programs are started by a fork and watched; large disks are discarded by a child.
"""

import collections
import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from typing import Any, Final

from lambent.sandbox.launcher import messages
from lambent.sandbox.launcher.host import Host
from lambent.sandbox.launcher.sandboxes import Answer, Sandbox

_TICK_S: Final = 0.001
_OUTBOX_LIMIT: Final = 10_000
_STOP_LIMIT_S: Final = 8.0


class Deadlock(RuntimeError):
    """The server does not read its answers; the launcher ends, and everything with it."""


class Service:
    """Serves one channel until SIGTERM. ``op_…`` methods are the protocol's operations."""

    def __init__(self, channel: socket.socket, host: Host) -> None:
        self._channel = channel
        self._host = host
        self._generation = os.urandom(8).hex()
        self._sandboxes: dict[str, Sandbox] = {}
        self._children: dict[int, Callable[[], None]] = {}
        self._watches: list[Callable[[], bool]] = []
        self._outbox: collections.deque[tuple[bytes, list[int]]] = collections.deque()
        self._epoll = select.epoll()
        self._ready: dict[int, Callable[[], None]] = {}
        self._stopping_mono_s = 0.0
        self._waits_for_empty: list[Answer] = []

    def run(self) -> None:
        """Serve; returns after SIGTERM, when everything is gone."""
        self._channel.setblocking(False)
        self._catch_signals()
        self.watch(self._channel.fileno(), self._receive)
        self._send({"event": "launcher", "launcher": self._generation}, [])
        while not self._is_done():
            busy = self._turn()
            if not busy and not self._stopping_mono_s:
                self._host.refill_once()
        self._host.close()

    def watch(self, descriptor: int, callback: Callable[[], None]) -> None:
        """Call ``callback`` whenever ``descriptor`` is readable or hung up."""
        self._ready[descriptor] = callback
        self._epoll.register(descriptor, select.EPOLLIN)

    def unwatch(self, descriptor: int) -> None:
        """Stop that; before the descriptor is closed."""
        if self._ready.pop(descriptor, None):
            self._epoll.unregister(descriptor)

    def poll(self, condition: Callable[[], bool]) -> None:
        """Call ``condition`` every millisecond until it returns True. It must not raise."""
        if not condition():
            self._watches.append(condition)

    def adopt(self, pid: int, ended: Callable[[], None]) -> None:
        """Call ``ended`` when this child was reaped."""
        self._children[pid] = ended

    def run_in_child(self, work: Callable[[], None], ended: Callable[[], None]) -> None:
        """Do slow work in a fork; ``ended`` is called when it is over, well or not."""
        pid = os.fork()
        if not pid:
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                work()
            except BaseException as error:  # noqa: BLE001  nothing may return into the parent's loop
                os.write(2, f"lambent launcher: {error}\n".encode())
            finally:
                os._exit(0)
        self.adopt(pid, ended)

    def tell_exit(self, fields: dict[str, object]) -> None:
        """Tell the server how a program ended."""
        self._send({"event": "exit", "launcher": self._generation, **fields}, [])

    def forget(self, sandbox: Sandbox) -> None:
        """Drop a sandbox of which nothing is left."""
        del self._sandboxes[sandbox.name]
        if not self._sandboxes:
            for answer in self._waits_for_empty:
                answer(self._facts(), [])
            self._waits_for_empty.clear()

    # The operations. Each gets its parsed fields and the descriptors that came along; the loop closes those.

    def op_hello(self, answer: Answer, descriptors: list[int], *, server: str) -> None:
        """A server begins: what another one left is not its own."""
        for sandbox in list(self._sandboxes.values()):
            sandbox.end(None)
        if self._sandboxes:
            self._waits_for_empty.append(answer)
        else:
            answer(self._facts(), [])

    def op_capabilities(self, answer: Answer, descriptors: list[int]) -> None:
        """What this host can enforce."""
        answer(self._facts(), [])

    def op_create(
        self, answer: Answer, descriptors: list[int], *, sandbox: str, limits: dict[str, Any], egress: str
    ) -> None:
        """Make a sandbox without a program."""
        if sandbox in self._sandboxes:
            raise OSError(f"sandbox {sandbox} exists")
        if self._stopping_mono_s:
            raise OSError("the launcher is stopping")
        self._sandboxes[sandbox] = made = Sandbox(self, self._host, sandbox, limits, egress)
        network = made.network
        listeners = {"listener": network.listener.fileno(), "endpoint": network.endpoint_listener.fileno()}
        with made.open_controls() as controls:
            sent = {**listeners, **controls}
            answer({"kuid": made.kuid, "sent": list(sent)}, list(sent.values()))

    def op_start(self, answer: Answer, descriptors: list[int], *, sandbox: str, **fields: Any) -> None:
        """Start a program; answered when it runs."""
        self._find(sandbox).start(answer, descriptors, **fields)

    def op_assign(self, answer: Answer, descriptors: list[int], *, sandbox: str, program: int, **fields: Any) -> None:
        """Change limits and mount trees into the running program's view: one trip, as a caller waits for it."""
        found = self._find(sandbox)
        found.set_limits(fields["limits"])
        found.assign(program, fields["trees"])
        answer({}, [])

    def op_signal(self, answer: Answer, descriptors: list[int], *, sandbox: str, program: int, number: int) -> None:
        """Send a signal to the program proper."""
        self._find(sandbox).send_signal(program, number)
        answer({}, [])

    def op_kill(self, answer: Answer, descriptors: list[int], *, sandbox: str, program: int) -> None:
        """Kill the tree; answered when it is dead."""
        self._find(sandbox).kill(program, answer)

    def op_set_limits(self, answer: Answer, descriptors: list[int], *, sandbox: str, limits: dict[str, Any]) -> None:
        """Change limits."""
        self._find(sandbox).set_limits(limits)
        answer({}, [])

    def op_outbound(self, answer: Answer, descriptors: list[int], *, sandbox: str) -> None:
        """Make an unconnected socket of the sandbox's network."""
        with self._host.networks.open_outbound(self._find(sandbox).network) as outbound:
            answer({"sent": ["outbound"]}, [outbound.fileno()])

    def op_usage(self, answer: Answer, descriptors: list[int], *, sandbox: str) -> None:
        """What it used so far."""
        found = self._find(sandbox)
        answer({"peak_memory_bytes": found.peak_memory_bytes(), "resident_file_bytes": found.resident_file_bytes()}, [])

    def op_end(self, answer: Answer, descriptors: list[int], *, sandbox: str) -> None:
        """Kill and remove everything of it; answered when nothing is left."""
        self._find(sandbox).end(answer)

    # The loop.

    def _turn(self) -> bool:
        """Wait for something and handle it; False when there was nothing to do."""
        timeout = _TICK_S if self._watches else (0 if self._host.wants_refill() else -1)
        if self._stopping_mono_s:
            timeout = _TICK_S
        events = self._epoll.poll(timeout)
        for descriptor, _ in events:
            if callback := self._ready.get(descriptor):
                callback()
        if self._outbox:
            self._flush()
        self._watches = [condition for condition in self._watches if not condition()]
        return bool(events or self._watches)

    def _is_done(self) -> bool:
        if not self._stopping_mono_s:
            return False
        late = time.monotonic() > self._stopping_mono_s + _STOP_LIMIT_S
        return late or not (self._sandboxes or self._children)

    def _catch_signals(self) -> None:
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda *_: None)

        def woken() -> None:
            numbers = os.read(reader, 4096)
            if signal.SIGTERM in numbers and not self._stopping_mono_s:
                self._stop()
            self._reap()

        self.watch(reader, woken)

    def _stop(self) -> None:
        self._stopping_mono_s = time.monotonic()
        for sandbox in list(self._sandboxes.values()):
            sandbox.end(None)

    def _reap(self) -> None:
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if ended := self._children.pop(pid, None):
                ended()

    def _receive(self) -> None:
        """Take at most a few packets, so that nothing else starves."""
        for _ in range(16):
            try:
                packet, descriptors, flags, _ = socket.recv_fds(
                    self._channel, messages.MESSAGE_LIMIT_BYTES, messages.DESCRIPTOR_LIMIT, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                return
            if not packet and not flags:
                # The supervisor keeps the channel open: without it nobody is left to serve.
                self.unwatch(self._channel.fileno())
                self._stop()
                return
            try:
                self._handle(packet, descriptors, torn=bool(flags & socket.MSG_TRUNC))
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

    def _handle(self, packet: bytes, descriptors: list[int], *, torn: bool) -> None:
        identifier = 0
        try:
            identifier, launcher = messages.find_identity(packet)
            if torn:
                raise messages.Malformed(f"longer than {messages.MESSAGE_LIMIT_BYTES} bytes")
            identifier, operation, fields = messages.parse_request(packet)
            if operation != "hello" and launcher != self._generation:
                raise OSError("meant for a launcher that is dead")
            getattr(self, f"op_{operation}")(self._answer(identifier), descriptors, **fields)
        except messages.Malformed as error:
            self._send({"id": identifier, "error": f"malformed message: {error}"}, [])
        except Exception as error:  # noqa: BLE001  no message may end the launcher
            self._send({"id": identifier, "error": f"{error}" or type(error).__name__}, [])

    def _answer(self, identifier: int) -> Answer:
        def answer(fields: dict[str, object] | str, descriptors: list[int]) -> None:
            outcome = {"error": fields} if isinstance(fields, str) else {"ok": fields}
            self._send({"id": identifier, **outcome}, [os.dup(descriptor) for descriptor in descriptors])

        return answer

    def _send(self, message: dict[str, object], descriptors: list[int]) -> None:
        """Send, or keep until the server reads. Owns ``descriptors``."""
        if len(self._outbox) >= _OUTBOX_LIMIT:
            raise Deadlock("the server does not read")
        self._outbox.append((messages.render(message), descriptors))
        self._flush()

    def _flush(self) -> None:
        while self._outbox:
            packet, descriptors = self._outbox[0]
            try:
                socket.send_fds(self._channel, [packet], descriptors)
            except BlockingIOError:
                self._epoll.modify(self._channel.fileno(), select.EPOLLIN | select.EPOLLOUT)
                return
            except OSError:
                pass  # the other end is gone; so is whoever wanted this
            self._outbox.popleft()
            for descriptor in descriptors:
                os.close(descriptor)
        with contextlib.suppress(OSError):
            self._epoll.modify(self._channel.fileno(), select.EPOLLIN)

    def _find(self, name: str) -> Sandbox:
        if (sandbox := self._sandboxes.get(name)) is None or sandbox.is_ending:
            raise OSError(f"there is no sandbox {name}")
        return sandbox

    def _facts(self) -> dict[str, object]:
        return {"launcher": self._generation, "missing": self._host.missing()}

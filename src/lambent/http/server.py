"""An HTTP/1.1 server for one ``Application``: listens, counts connections, owns the application's coroutines, drains.

Made to be had by the thousand in one process: an idle server costs one small object and its listening socket, and all
of them share one ``Sweep``.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine

import structlog

from lambent.http.application import Application
from lambent.http.connection import Connection
from lambent.http.exchange import Exchange
from lambent.http.limits import HttpLimits
from lambent.http.plain import HeaderNames
from lambent.http.sweep import Sweep

BACKLOG = 1024

log = structlog.get_logger(__name__)


class HttpServer:
    """Serves ``application`` on every socket given to ``serve`` until ``close``.

    Without ``sweep`` it keeps a timer of its own while it has connections; servers in numbers share one.
    ``header_names`` may be shared too.
    """

    __slots__ = (
        "_connections",
        "_emptied",
        "_listeners",
        "_tasks",
        "application",
        "header_names",
        "held_bytes",
        "is_draining",
        "limits",
        "sweep",
    )

    def __init__(
        self,
        application: Application,
        limits: HttpLimits,
        *,
        clock_mono: Callable[[], float],
        sweep: Sweep | None = None,
        header_names: HeaderNames | None = None,
    ) -> None:
        self.application = application
        self.limits = limits
        self.sweep = sweep if sweep is not None else Sweep(clock_mono)
        self.header_names = header_names if header_names is not None else HeaderNames()
        self.held_bytes = 0
        self.is_draining = False
        self._listeners: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._emptied: asyncio.Future[None] | None = None

    @property
    def connection_count(self) -> int:
        """How many peers are connected now."""
        return len(self._connections)

    async def serve(self, sock: socket.socket) -> None:
        """Accept on ``sock`` (bound, TCP or Unix) from now on; returns at once. The server closes the socket."""
        if self.is_draining:
            raise RuntimeError("the server is closed")
        loop = asyncio.get_running_loop()
        if sock.family == socket.AF_UNIX:
            listener = await loop.create_unix_server(self._make_connection, sock=sock, backlog=BACKLOG)
        else:
            listener = await loop.create_server(self._make_connection, sock=sock, backlog=BACKLOG)
        self._listeners.append(listener)

    async def close(self, grace_s: float) -> None:
        """Stop accepting, let answers in flight end for ``grace_s`` at most, then cut off and cancel the rest."""
        self.is_draining = True
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.close()
        for connection in tuple(self._connections):
            connection.drain_peer()
        if grace_s > 0:
            await self._wait_until_empty(grace_s)
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in tuple(self._connections):
            connection.break_off()
        await self._wait_until_empty(1.0)  # connection_lost of those just cut off

    async def _wait_until_empty(self, limit_s: float) -> None:
        if self._connections or self._tasks:
            self._emptied = asyncio.get_running_loop().create_future()
            await asyncio.wait((self._emptied,), timeout=limit_s)
            self._emptied = None

    def _make_connection(self) -> Connection:
        return Connection(self)

    # -- Owner, for connections

    def connection_opened(self, connection: Connection) -> bool:
        """Count ``connection`` in; False if there are too many, or the server is closing."""
        if self.is_draining or len(self._connections) >= self.limits.connection_limit:
            return False
        self._connections.add(connection)
        return True

    def connection_closed(self, connection: Connection) -> None:
        """Count ``connection`` out."""
        self._connections.discard(connection)
        self._check_empty()

    def run(self, exchange: Exchange) -> None:
        """Hand the request to the application; own the coroutine it may return."""
        try:
            coroutine = self.application.handle(exchange.request(), exchange)
        except Exception:  # the edge of one unit of work: the application's defect is this request's 500
            log.exception("handle_failed", method=exchange.head.method)
            exchange.fail()
            return
        if coroutine is not None:
            self._own(coroutine, exchange)

    def _own(self, coroutine: Coroutine[None, None, None], exchange: Exchange) -> None:
        task = asyncio.get_running_loop().create_task(_guard(coroutine, exchange), name="http request")
        self._tasks.add(task)
        task.add_done_callback(self._disown)

    def _disown(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._check_empty()

    def _check_empty(self) -> None:
        emptied = self._emptied
        if emptied is not None and not emptied.done() and not self._connections and not self._tasks:
            emptied.set_result(None)


async def _guard(coroutine: Coroutine[None, None, None], exchange: Exchange) -> None:
    try:
        await coroutine
    except Exception:  # the edge of one unit of work: the application's defect is this request's 500
        log.exception("handle_failed", method=exchange.head.method)
        exchange.fail()

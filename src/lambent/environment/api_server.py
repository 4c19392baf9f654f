"""The socket side of a sandbox's APIs: one small HTTP server an environment, all of them sharing what can be shared."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from lambent.http.application import Application
from lambent.http.limits import KIB, MIB, PATIENT, HttpLimits
from lambent.http.plain import HeaderNames
from lambent.http.server import HttpServer
from lambent.http.sweep import Sweep
from lambent.model.clock import Clock

# A function that calls AWS: hostile perhaps, and one of hundreds. Its connections stay while it does nothing, as it may
# be frozen; what it begins it has to end in time.
ENDPOINT_LIMITS: Final = HttpLimits(
    connection_limit=128,
    held_limit_bytes=16 * MIB,
    head_limit_bytes=64 * KIB,
    header_limit=128,
    idle_timeout_s=None,
)


class ApiServers:
    """Opens servers on listening sockets inside of sandboxes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sweep = Sweep(clock.mono_s)
        self._header_names = HeaderNames()

    @asynccontextmanager
    async def open_server(
        self, application: Application, listener: socket.socket, limits: HttpLimits = PATIENT
    ) -> AsyncIterator[None]:
        """Serve ``application`` on ``listener``, which stays its driver's, for as long as the block runs."""
        server = HttpServer(
            application,
            limits,
            clock_mono=self._clock.mono_s,
            sweep=self._sweep,
            header_names=self._header_names,
        )
        await server.serve(listener.dup())
        try:
            yield
        finally:
            await server.close(0)

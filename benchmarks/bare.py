"""The baselines: H, a bare HTTP answer on the same loop; L, a bare loop over the same sandboxed environments."""

import asyncio
import sys
import time
import uuid
from collections.abc import Sequence
from typing import Any

import httptools
import uvloop

ARN = "arn:aws:lambda:us-east-1:000000000000:function:bare"


class BareAnswer(asyncio.Protocol):
    """Answers every request with the same few bytes: what HTTP itself costs here."""

    ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to parse."""
        self._transport: Any = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Answer."""
        self._transport.write(self.ANSWER)


class BareRuntimeApi(asyncio.Protocol):
    """The least that the official client needs: next and response, no checks, no clocks, no logs."""

    def __init__(self, owner: "BareEnvironment") -> None:
        self._owner = owner

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to parse."""
        self.transport: Any = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        """Forget the last request."""
        self._body: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        """Keep the path."""
        self._path = url

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Hand the event out, or take the answer."""
        if self._path.endswith(b"/next"):
            self._owner.polled(self.transport)
        else:
            self.transport.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
            self._owner.answered(b"".join(self._body))


class BareEnvironment:
    """One environment's end of the conversation."""

    def __init__(self) -> None:
        self._poller: Any = None
        self._event: bytes | None = None
        self._result: asyncio.Future[bytes] | None = None
        self.ready = asyncio.Event()

    def polled(self, transport: Any) -> None:
        """The runtime asks for its next event."""
        self._poller = transport
        self.ready.set()
        if self._event is not None:
            self._send()

    def answered(self, body: bytes) -> None:
        """The runtime answered."""
        if self._result is not None:
            self._result.set_result(body)

    def _send(self) -> None:
        event, self._event = self._event, None
        transport, self._poller = self._poller, None
        assert event is not None
        deadline = int(time.time() * 1000) + 20_000
        transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
            b"Lambda-Runtime-Aws-Request-Id: %b\r\nLambda-Runtime-Deadline-Ms: %d\r\n"
            b"Lambda-Runtime-Invoked-Function-Arn: %b\r\ncontent-length: %d\r\n\r\n%b"
            % (str(uuid.uuid4()).encode(), deadline, ARN.encode(), len(event), event)
        )

    async def invoke(self, event: bytes) -> bytes:
        """Return the answer to ``event``."""
        self._result = asyncio.get_running_loop().create_future()
        self._event = event
        if self._poller is not None:
            self._send()
        return await self._result


async def loop_over(environments: Sequence[BareEnvironment], event: bytes, count: int) -> tuple[list[float], float]:
    """Invoke each environment ``count`` times, all side by side; return latencies and the rate per second."""
    latencies: list[float] = []

    async def one(environment: BareEnvironment) -> None:
        for _ in range(count):
            before = time.perf_counter()
            await environment.invoke(event)
            latencies.append(time.perf_counter() - before)

    before = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for environment in environments:
            group.create_task(one(environment))
    return latencies, len(environments) * count / (time.perf_counter() - before)


async def serve_bare_answers() -> None:
    """Serve H on a port of the system's choice, printed on standard output, until killed."""
    server = await asyncio.get_running_loop().create_server(BareAnswer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    assert sys.argv[1:] == ["answers"]
    uvloop.run(serve_bare_answers())

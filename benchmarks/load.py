"""A small load generator: requests signed beforehand, sent over kept connections, answers checked, latencies taken."""

import asyncio
import time
from collections.abc import Sequence

import uvloop
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

KEY, SECRET = "AKIDBENCHMARK0000000", "benchmark-secret"


def signed_invoke(host: str, port: int, function: str, body: bytes) -> bytes:
    """Return the bytes of one signed Invoke request; valid for some minutes, as often as wanted."""
    path = f"/2015-03-31/functions/{function}/invocations"
    request = AWSRequest("POST", f"http://{host}:{port}{path}", data=body, headers={"Host": f"{host}:{port}"})
    SigV4Auth(Credentials(KEY, SECRET), "lambda", "us-east-1").add_auth(request)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    return f"POST {path} HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Connection(asyncio.Protocol):
    """One kept connection with one request in flight."""

    def __init__(self) -> None:
        self._buffer = b""
        self._waiter: asyncio.Future[bytes] | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport  # type: ignore[assignment]  # TCP gives a full transport

    def data_received(self, data: bytes) -> None:
        """Complete the waiting request once head and body are here."""
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self._buffer[:head_end].lower()
        at = head.index(b"content-length:") + 15
        length = int(head[at : head.find(b"\r", at) if head.find(b"\r", at) > 0 else None])
        if len(self._buffer) >= head_end + 4 + length:
            answer, self._buffer = self._buffer, b""
            if self._waiter is not None:
                self._waiter.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail whoever waits."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ConnectionError("the server hung up"))

    async def request(self, data: bytes) -> bytes:
        """Send one request and return its whole answer."""
        self._waiter = asyncio.get_running_loop().create_future()
        assert self.transport is not None
        self.transport.write(data)
        return await self._waiter


async def _one_client(host: str, port: int, requests: Sequence[bytes], count: int, latencies: list[float]) -> None:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, host, port)
    for number in range(count):
        before = time.perf_counter()
        answer = await connection.request(requests[number % len(requests)])
        latencies.append(time.perf_counter() - before)
        if not answer.startswith(b"HTTP/1.1 200") or b"x-amz-function-error" in answer[:2000].lower():
            raise RuntimeError(f"a wrong answer: {answer[:500]!r}")
    assert connection.transport is not None
    connection.transport.close()


def drive(host: str, port: int, requests: Sequence[bytes], *, clients: int, count: int) -> tuple[list[float], float]:
    """Send ``count`` requests on each of ``clients`` connections; return all latencies and the rate per second."""

    async def run() -> tuple[list[float], float]:
        latencies: list[float] = []
        before = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(_one_client(host, port, requests, count, latencies))
        return latencies, clients * count / (time.perf_counter() - before)

    return uvloop.run(run())

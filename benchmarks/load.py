"""A small load generator: requests signed beforehand, sent over kept connections, answers checked, latencies taken."""

import asyncio
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import uvloop
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

# As boto3 sends them: what it says of itself, and an id that no two requests share. So a server can learn nothing from
# one request's bytes that real clients would not let it learn.
AGENT = (
    "Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux#6.1 md/arch#x86_64 lang/python#3.13.1 md/pyimpl#CPython "
    "m/Z,E,b,N,e cfg/retry-mode#standard Botocore/1.44.5"
)
DIFFERENT = 64
KEY, SECRET = "AKIDBENCHMARK0000000", "benchmark-secret"
FUNCTIONS = "/2015-03-31/functions"


@dataclass(frozen=True, slots=True)
class Load:
    """What came of one load: every latency in seconds, and the rate of all clients together per second."""

    latencies_s: Sequence[float]
    rate: float


def signed(host: str, port: int, path: str, body: bytes, more: Mapping[str, str] | None = None) -> bytes:
    """Return the bytes of one signed POST; valid for some minutes, as often as wanted."""
    headers = {"Host": f"{host}:{port}", "Accept-Encoding": "identity", "User-Agent": AGENT, **(more or {})}
    request = AWSRequest("POST", f"http://{host}:{port}{path}", data=body, headers=headers)
    SigV4Auth(Credentials(KEY, SECRET), "lambda", "us-east-1").add_auth(request)
    request.headers["amz-sdk-invocation-id"] = str(uuid.uuid4())
    request.headers["amz-sdk-request"] = "attempt=1; max=3"
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    return f"POST {path} HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def signed_invoke(host: str, port: int, function: str, body: bytes) -> bytes:
    """Return the bytes of one signed Invoke."""
    return signed(host, port, f"{FUNCTIONS}/{function}/invocations", body)


def signed_invokes(host: str, port: int, function: str, body: bytes) -> list[bytes]:
    """Return many of them, no two alike."""
    return [signed_invoke(host, port, function, body) for _ in range(DIFFERENT)]


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
        head = self._buffer[:head_end].lower() + b"\r"
        at = head.find(b"content-length:") + 15
        length = 0 if head[9:12] == b"204" else int(head[at : head.index(b"\r", at)])
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


class Client:
    """A connection that is made anew where the server closes it after an answer."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._connection: Connection | None = None

    async def request(self, data: bytes) -> bytes:
        """Return the answer of a request that must succeed."""
        if self._connection is None:
            _, self._connection = await asyncio.get_running_loop().create_connection(Connection, *self._address)
        answer = await self._connection.request(data)
        if not answer.startswith((b"HTTP/1.1 20", b"HTTP/1.0 20")) or b"-function-error" in answer[:1000].lower():
            raise RuntimeError(f"a wrong answer: {answer[:800]!r}")
        if answer.startswith(b"HTTP/1.0") or b"connection: close" in answer[:1000].lower():
            self.close()
        return answer

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None and self._connection.transport is not None:
            self._connection.transport.close()
        self._connection = None


def drive(host: str, port: int, requests: Sequence[bytes], *, clients: int, count: int) -> Load:
    """Send ``count`` requests on each of ``clients`` connections, one at a time."""

    async def one(latencies_s: list[float]) -> None:
        client = Client(host, port)
        try:
            for number in range(count):
                before = time.perf_counter()
                await client.request(requests[number % len(requests)])
                latencies_s.append(time.perf_counter() - before)
        finally:
            client.close()

    async def run() -> Load:
        latencies_s: list[float] = []
        before = time.perf_counter()
        await asyncio.gather(*(one(latencies_s) for _ in range(clients)))
        return Load(latencies_s, clients * count / (time.perf_counter() - before))

    return uvloop.run(run())


def send_all(host: str, port: int, requests: Iterable[bytes], *, clients: int) -> None:
    """Send each request once, over ``clients`` connections."""
    waiting = iter(requests)

    async def one() -> None:
        client = Client(host, port)
        try:
            for request in waiting:
                await client.request(request)
        finally:
            client.close()

    async def run() -> None:
        await asyncio.gather(*(one() for _ in range(clients)))

    uvloop.run(run())

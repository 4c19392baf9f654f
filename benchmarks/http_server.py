"""What ``HttpServer`` adds to a bare answer of uvloop + httptools (baseline H).

Both run in processes of their own, one keep-alive client each in turn: A B A B …; drift of the machine hits both.
CPU is the server process's own (user + system) per request; latency is the client's.

    python benchmarks/http_server.py [--rounds 20] [--requests 2000] [--body 0]
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import socket
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from typing import Any

import httptools
import uvloop

from lambent.http.application import BodyPlan, Reply, Request, RequestHead
from lambent.http.limits import HttpLimits
from lambent.http.server import HttpServer

HEADERS = (("content-type", "application/json"),)
BARE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: keep-alive\r\n\r\n"


class Echo:
    """Answers at once with the request's body."""

    def plan_body(self, head: RequestHead) -> BodyPlan:
        """Take bodies as AWS does."""
        return BodyPlan(6_291_456)

    def handle(self, request: Request, reply: Reply) -> None:
        """Answer with the body."""
        reply.send(200, HEADERS, request.body)


class Bare(asyncio.Protocol):
    """The least that can answer HTTP on these libraries: a parser, the headers collected, one write."""

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.transport.write(BARE_HEAD % len(self.body) + self.body)
        self.headers, self.body = [], b""


def serve(pipe: Pipe, subject: str) -> None:
    """Serve ``subject`` and tell the CPU seconds used so far whenever asked, until the pipe closes."""
    uvloop.run(_serve(pipe, subject))


async def _serve(pipe: Pipe, subject: str) -> None:
    loop = asyncio.get_running_loop()
    sock = socket.create_server(("127.0.0.1", 0), backlog=64)
    address = sock.getsockname()
    ended: asyncio.Future[None] = loop.create_future()
    if subject == "bare":
        server: Any = await loop.create_server(Bare, sock=sock)
    else:
        server = HttpServer(Echo(), HttpLimits(), clock_mono=time.monotonic)
        await server.serve(sock)

    def answer() -> None:
        try:
            pipe.recv()
            pipe.send(time.process_time())
        except EOFError:
            loop.remove_reader(pipe.fileno())
            ended.set_result(None)

    loop.add_reader(pipe.fileno(), answer)
    pipe.send(address)
    await ended


@dataclass
class Subject:
    """A server process, a client connected to it, and what was measured."""

    name: str
    pipe: Pipe
    client: socket.socket
    cpu_us: list[float] = field(default_factory=list)
    p50_us: list[float] = field(default_factory=list)
    p99_us: list[float] = field(default_factory=list)

    def measure(self, request: bytes, answer_bytes: int, count: int) -> None:
        """Send ``count`` requests one after another and keep CPU and latency per request."""
        before_s, times = self.cpu_s(), []
        for _ in range(count):
            began = time.perf_counter_ns()
            self.client.sendall(request)
            left = answer_bytes
            while left > 0:
                left -= len(self.client.recv(262_144))
            times.append((time.perf_counter_ns() - began) / 1000)
        self.cpu_us.append((self.cpu_s() - before_s) / count * 1e6)
        quantiles = statistics.quantiles(times, n=100)
        self.p50_us.append(quantiles[49])
        self.p99_us.append(quantiles[98])

    def cpu_s(self) -> float:
        """CPU seconds the server process has used."""
        self.pipe.send(None)
        return float(self.pipe.recv())


@contextlib.contextmanager
def started(name: str) -> Iterator[Subject]:
    """Yield the subject called ``name`` in a process of its own."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, name))
    process.start()
    theirs.close()
    with ours, socket.create_connection(tuple(ours.recv())) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield Subject(name, ours, client)
    process.join(10)


def invoke_request(body: bytes) -> bytes:
    """Return a request as an AWS SDK sends it: thirteen headers, a signature among them."""
    lines = [
        "POST /2015-03-31/functions/echo/invocations HTTP/1.1",
        "Host: 127.0.0.1:4566",
        "Accept-Encoding: identity",
        "X-Amz-Invocation-Type: RequestResponse",
        "X-Amzn-Trace-Id: Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
        "User-Agent: Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux#6.1 md/arch#x86_64 lang/python#3.11.2",
        "X-Amz-Date: 20261123T120000Z",
        "Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261123/us-east-1/lambda/aws4_request,"
        " SignedHeaders=host;x-amz-date;x-amz-invocation-type, Signature=" + "0123456789abcdef" * 4,
        "amz-sdk-invocation-id: 6f1e2b1c-3d59-4a4b-9d2e-2b0d9f3f2b11",
        "amz-sdk-request: attempt=1",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def main() -> None:
    """Measure, print the table, and the same as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--body", type=int, default=2)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    body = b"7" * options.body
    request = invoke_request(body)
    answer_bytes = len(BARE_HEAD % len(body)) + len(body)  # both answer the same bytes
    with started("bare") as bare, started("lambent") as ours:
        for subject in (bare, ours):
            subject.measure(request, answer_bytes, options.requests)
            subject.cpu_us.clear(), subject.p50_us.clear(), subject.p99_us.clear()
        for _ in range(options.rounds):
            for subject in (bare, ours):
                subject.measure(request, answer_bytes, options.requests)
    rows = []
    for name in ("cpu_us", "p50_us", "p99_us"):
        base, mine = statistics.median(getattr(bare, name)), statistics.median(getattr(ours, name))
        rows.append({"name": name, "baseline": base, "subject": mine, "ratio": mine / base, "rounds": options.rounds})
        print(f"{name:8} bare {base:8.1f}   HttpServer {mine:8.1f}   +{mine - base:6.1f} us   ratio {mine / base:.2f}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONHASHSEED", "0")
    main()

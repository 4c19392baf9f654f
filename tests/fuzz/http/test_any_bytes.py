"""No bytes make the HTTP server hang, fail, or answer something that is no HTTP."""

import asyncio
import contextlib
import socket

import httptools
import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lambent.http.application import BodyPlan
from lambent.http.limits import HttpLimits
from lambent.http.server import HttpServer

pytestmark = pytest.mark.rounds

REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /c HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    b"POST /s HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n" + b"x" * 20_000,
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: u\r\n\r\n",
    b"POST /s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
    b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"PUT / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
]
PIECES = [b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b"0\r\n\r\n", b"Content-Length: 70000\r\n", b"x" * 20_000]


@st.composite
def byte_streams(draw):
    """Return sound requests in a row, with a few cuts and insertions at any place."""
    data = b"".join(draw(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=6)))
    for _ in range(draw(st.integers(0, 2))):
        at, cut = draw(st.integers(0, len(data))), draw(st.integers(0, 4))
        data = data[:at] + draw(st.sampled_from(PIECES) | st.binary(max_size=8)) + data[at + cut :]
    return data


STREAMS = byte_streams() | st.binary(max_size=200)


class Mixed:
    """Answers by path: at once, later, in pieces, from a stream."""

    def plan_body(self, head):
        return BodyPlan(50_000, is_streamed=head.path == "/s")

    def handle(self, request, reply):
        if request.head.path == "/a":
            return self._later(request, reply)
        if request.head.path == "/s":
            return self._streamed(request, reply)
        if request.head.path == "/c":
            return self._pieces(reply)
        reply.send(200, (), request.body)
        return None

    async def _later(self, request, reply):
        await asyncio.sleep(0)
        reply.send(200, (), request.body)

    async def _streamed(self, request, reply):
        length = 0
        if request.stream is not None:
            with contextlib.suppress(Exception):  # a broken body has the peer's answer already
                async for chunk in request.stream:
                    length += len(chunk)
        reply.send(200, (), b"%d" % length)

    async def _pieces(self, reply):
        reply.start(200, ())
        await reply.write(b"piece")
        reply.finish()


class Statuses:
    """Reads answers; a byte that is no HTTP raises in the parser."""

    def __init__(self):
        self.seen = []
        self.parser = httptools.HttpResponseParser(self)

    def on_headers_complete(self):
        self.seen.append(self.parser.get_status_code())


async def statuses_of(data, pieces):
    server = HttpServer(Mixed(), HttpLimits(head_limit_bytes=30_000, linger_s=0.0), clock_mono=lambda: 0.0)
    sock = socket.create_server(("127.0.0.1", 0))
    address = sock.getsockname()
    await server.serve(sock)
    reader, writer = await asyncio.open_connection(*address)
    answers = b""
    try:
        for start in range(0, len(data), pieces):
            if writer.is_closing():  # cut off already
                break
            writer.write(data[start : start + pieces])
            await asyncio.sleep(0)
        with contextlib.suppress(OSError, RuntimeError):  # the same
            writer.write_eof()
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError):
                answers = await reader.read(-1)
    finally:
        writer.close()
        await server.close(1)
    assert server.connection_count == 0
    statuses = Statuses()
    if b"HEAD" not in data:  # a client that did not ask HEAD could not read the answer to it
        statuses.parser.feed_data(answers)
    return statuses.seen


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=STREAMS, pieces=st.sampled_from([1 << 20, 4096, 17]))
def test_any_bytes_are_answered_or_end_the_connection_and_never_a_500(data, pieces):
    assert 500 not in uvloop.run(statuses_of(data, pieces))

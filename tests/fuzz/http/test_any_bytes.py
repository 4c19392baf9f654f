"""No bytes make the HTTP server hang, fail, or answer something that is no HTTP."""

import asyncio
import contextlib
import socket

import httptools
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lambent.http.application import BodyPlan
from lambent.http.limits import HttpLimits
from lambent.http.server import HttpServer

pytestmark = pytest.mark.rounds

FRAGMENTS = [
    b"GET / HTTP/1.1\r\n",
    b"POST /a HTTP/1.1\r\n",
    b"POST /s HTTP/1.1\r\n",
    b"HEAD /c HTTP/1.0\r\n",
    b"Host: a\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: 70000\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"Connection: upgrade\r\nUpgrade: h2c\r\n",
    b"\r\n",
    b"abc",
    b"3\r\nabc\r\n",
    b"3;x=y\r\nabc\r\n",
    b"0\r\n",
    b"T: u\r\n",
    b"0\r\n\r\n",
    b"\n",
    b"\0",
    b" ",
    b":",
    b"x" * 20_000,
]
STREAMS = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=8), max_size=30).map(b"".join)


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
            writer.write(data[start : start + pieces])
            await asyncio.sleep(0)
        with contextlib.suppress(OSError):  # cut off already
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


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=STREAMS, pieces=st.sampled_from([1 << 20, 4096, 17]))
def test_any_bytes_are_answered_or_end_the_connection_and_never_a_500(data, pieces):
    import uvloop

    assert 500 not in uvloop.run(statuses_of(data, pieces))

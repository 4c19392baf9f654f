"""The HTTP server, through raw sockets: framing, order, limits, slow and hostile peers, the orderly end."""

import asyncio
import contextlib
import http.client
import itertools
import socket

import pytest
import urllib3

from lambent.http.application import BodyPlan, HttpRefusal, IncompleteBody
from lambent.http.connection import TURN_REQUESTS
from lambent.http.limits import PATIENT, HttpLimits
from lambent.http.server import HttpServer

pytestmark = pytest.mark.anyio

WAIT_S = 10
HOST = b"Host: a\r\n"


class Shown:
    """Answers by path; keeps every request, and lets a test decide when ``/held`` is answered."""

    def __init__(self):
        self.requests, self.held, self.gone, self.errors = [], [], 0, []
        self.arrived = asyncio.Event()
        self.limit, self.chunks = 1000, []

    def plan_body(self, head):
        if head.path == "/refused":
            raise HttpRefusal(403, (("content-type", "text/plain"),), b"not you")
        if head.path == "/plan-fails":
            raise ZeroDivisionError
        return BodyPlan(
            self.limit,
            is_streamed=head.path.startswith("/stream"),
            too_large=HttpRefusal(413, (), b"mine") if head.path == "/mine" else None,
        )

    def handle(self, request, reply):  # noqa: C901  a table of paths
        self.requests.append(request)
        self.arrived.set()
        match request.head.path:
            case "/held":
                self.held.append(reply)
                reply.on_gone(self._count_gone)
                return None
            case "/fails":
                raise ZeroDivisionError
            case "/fails-later":
                return self._fail_later()
            case "/fails-midway":
                return self._fail_midway(reply)
            case "/nothing":
                reply.send(204, ())
            case "/twice":
                reply.send(200, ())
                try:
                    reply.send(200, ())
                except RuntimeError as error:
                    self.errors.append(error)
            case "/stream":
                return self._stream(request, reply)
            case "/stream-early":
                reply.send(200, (), b"enough")
            case "/chunks":
                return self._write_chunks(reply, ())
            case "/short":
                return self._write_chunks(reply, (("Content-Length", "9"),))
            case "/sized":
                return self._write_chunks(reply, (("Content-Length", str(sum(map(len, self.chunks)))),))
            case _:
                reply.send(200, (("x-target", request.head.target),), request.body)
        return None

    def _count_gone(self):
        self.gone += 1

    async def _fail_later(self):
        await asyncio.sleep(0)
        raise ZeroDivisionError

    async def _fail_midway(self, reply):
        reply.start(200, ())
        await reply.write(b"half")
        raise ZeroDivisionError

    async def _stream(self, request, reply):
        body = b""
        try:
            async for chunk in request.stream:
                body += chunk
        except IncompleteBody as error:
            self.errors.append(error)
            reply.send(400, (), b"incomplete")
            return
        trailers = ",".join(f"{name}={value}" for name, value in request.trailers)
        reply.send(200, (("x-trailers", trailers),), body)

    async def _write_chunks(self, reply, headers):
        reply.start(200, headers)
        for chunk in self.chunks:
            await reply.write(chunk)
        reply.finish((("x-checksum", "7"),) if not headers else ())


class Peer:
    """A raw client."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    def send(self, data):
        self.writer.write(data)

    async def answer(self):
        """Return (status, headers, body) of one answer that has a length or none."""
        async with asyncio.timeout(WAIT_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:] if line)
            headers = {name.lower(): value for name, value in headers.items()}
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
            return int(head[0].split(" ")[1]), headers, body

    async def rest(self):
        """Return everything until the server ends the connection."""
        async with asyncio.timeout(WAIT_S):
            with contextlib.suppress(ConnectionResetError):
                return await self.reader.read(-1)
            return b""

    def close(self):
        self.writer.close()


@contextlib.asynccontextmanager
async def serving(app, *, limits=None, clock=None, listening=None):
    """Yield (server, connect). ``clock`` is a list of one number: the injected monotonic time."""
    now = clock if clock is not None else [0.0]
    server = HttpServer(app, limits or HttpLimits(), clock_mono=lambda: now[0])
    sock = listening or socket.create_server(("127.0.0.1", 0))
    address = sock.getsockname()
    await server.serve(sock)
    peers = []

    async def connect():
        if isinstance(address, str):
            peer = Peer(*await asyncio.open_unix_connection(address))
        else:
            peer = Peer(*await asyncio.open_connection(*address))
        peers.append(peer)
        return peer

    try:
        yield server, connect
    finally:
        for peer in peers:
            peer.close()
        await server.close(0)
        assert (server.connection_count, server.held_bytes) == (0, 0)


async def until(condition):
    """Return once ``condition()`` holds."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110  any condition, seen from outside
            await asyncio.sleep(0.001)


GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"


def post(path, body, *headers):
    lines = [b"POST %s HTTP/1.1" % path, b"Host: a", b"Content-Length: %d" % len(body), *headers, b"", b""]
    return b"\r\n".join(lines) + body


def chunked(path, *lines, headers=()):
    return b"\r\n".join(
        [b"POST %s HTTP/1.1" % path, b"Host: a", b"Transfer-Encoding: chunked", *headers, b"", *lines, b"", b""]
    )


# -- requests


async def test_request_reaches_the_application_as_sent():
    app = Shown()
    async with serving(app) as (_, connect):
        peer = await connect()
        peer.send(
            b"PUT /a%2Fb?c=%20&d HTTP/1.1\r\nHost: a\r\nX-One: 1 \r\nEmpty:\r\nx-one:\t2\r\n"
            b"Content-Length: 3\r\n\r\nabc"
        )
        status, headers, body = await peer.answer()
        head = app.requests[0].head
        assert (status, headers["x-target"], body) == (200, "/a%2Fb?c=%20&d", b"abc")
        assert (head.method, head.path, head.query) == ("PUT", "/a%2Fb", "c=%20&d")
        assert head.headers == (("host", "a"), ("x-one", "1"), ("empty", ""), ("x-one", "2"), ("content-length", "3"))
        assert head.peer.startswith("127.0.0.1:")


MIXED = (
    post(b"/one", b"abc"),
    chunked(b"/two", b"3;x=y", b"abc", b"1", b"d", b"0", b"T: u"),
    chunked(b"/stream", b"2", b"hi", b"0", b"T: u"),
    GET,
)
MIXED_BODIES = [b"abc", b"abcd", b"hi", b""]


async def test_pipelined_requests_cut_at_every_byte_get_the_same_answers_in_order():
    data = b"".join(MIXED)
    app = Shown()
    async with serving(app) as (_, connect):
        for cut in range(len(data) + 1):
            peer = await connect()
            peer.send(data[:cut])
            await asyncio.sleep(0)
            peer.send(data[cut:])
            assert [(await peer.answer())[2] for _ in MIXED] == MIXED_BODIES
            peer.close()


async def test_requests_that_arrive_byte_by_byte_are_understood():
    app = Shown()
    async with serving(app) as (_, connect):
        peer = await connect()
        for byte in b"".join(MIXED):
            peer.send(bytes((byte,)))
            await asyncio.sleep(0)
        answers = [await peer.answer() for _ in MIXED]
        assert [body for _, _, body in answers] == MIXED_BODIES
        assert answers[2][1]["x-trailers"] == "t=u"
        assert app.requests[1].trailers == (("t", "u"),)


async def test_answers_keep_the_order_of_their_requests():
    app = Shown()
    async with serving(app) as (_, connect):
        peer = await connect()
        peer.send(b"GET /held HTTP/1.1\r\n" + HOST + b"\r\n" + post(b"/second", b"2") + post(b"/third", b"3"))
        await until(lambda: app.held)
        assert len(app.requests) == 1, "a request was handed on before the answer to the one before it"
        app.held[0].send(200, (), b"1")
        assert [(await peer.answer())[2] for _ in range(3)] == [b"1", b"2", b"3"]


async def test_poll_that_comes_again_byte_for_byte_is_the_same_request_whatever_comes_between():
    app = Shown()
    poll = b"GET /poll?n=1 HTTP/1.1\r\n" + HOST + b"X-A: 1\r\nx-a: 2\r\n\r\n"
    other = b"GET /poll?n=2 HTTP/1.1\r\n" + HOST + b"\r\n"
    last = b"GET /last HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    async with serving(app) as (_, connect):
        peer = await connect()
        for data in (poll, poll, post(b"/echo", b"abc"), poll, other, poll[:9], poll[9:], poll, other, last):
            peer.send(data)
            if data != poll[:9]:
                assert (await peer.answer())[0] == 200
            await asyncio.sleep(0)
        assert await peer.rest() == b""
    targets = [request.head.target for request in app.requests]
    first, second = "/poll?n=1", "/poll?n=2"
    assert targets == [first, first, "/echo", first, second, first, first, second, "/last"]
    polls = [request.head for request in app.requests if request.head.target == first]
    assert all(head == polls[0] for head in polls)
    assert polls[0].headers[1:] == (("x-a", "1"), ("x-a", "2"))


async def test_poll_repeated_while_the_server_drains_ends_the_connection():
    app = Shown()
    async with serving(app) as (server, connect):
        peer = await connect()
        for _ in range(2):
            peer.send(GET)
            await peer.answer()
        server.is_draining = True
        peer.send(GET)
        _, headers, _ = await peer.answer()
        assert headers["connection"] == "close"


async def test_ten_thousand_pipelined_requests_are_all_answered():
    async with serving(Shown()) as (_, connect):
        peer = await connect()
        peer.send(GET * 10_000)
        peer.writer.write_eof()
        assert (await peer.rest()).count(b"HTTP/1.1 200 OK") == 10_000


async def test_peer_that_pipelines_does_not_hold_the_loop():
    app, seen = Shown(), []

    def look():
        seen.append(len(app.requests))
        if seen[-1] < 5000:
            asyncio.get_running_loop().call_soon(look)

    async with serving(app) as (_, connect):
        peer = await connect()
        peer.send(GET * 5000)
        look()
        await until(lambda: len(app.requests) == 5000)
        assert max(after - before for before, after in itertools.pairwise(seen)) <= 2 * TURN_REQUESTS


async def test_large_body_arrives_whole_and_comes_back_whole():
    app = Shown()
    app.limit = 7_000_000
    body = bytes(range(256)) * 24_000
    async with serving(app) as (_, connect):
        for request in (post(b"/", body), chunked(b"/", b"%x" % len(body), body, b"0")):
            peer = await connect()
            peer.send(request + GET)
            assert (await peer.answer())[2] == body
            assert (await peer.answer())[0] == 200


async def test_upgrade_is_ignored_and_its_body_is_no_next_request():
    app = Shown()
    async with serving(app) as (_, connect):
        peer = await connect()
        upgrade = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")
        peer.send(post(b"/", GET, *upgrade) + post(b"/last", b"x"))
        assert [(await peer.answer())[2] for _ in range(2)] == [GET, b"x"]
        peer.send(chunked(b"/", b"1", b"x", b"0", headers=upgrade[:2]))
        assert (await peer.answer())[0] == 400
        assert len(app.requests) == 2


@pytest.mark.parametrize("path", [b"/", b"/stream"])
async def test_continue_is_sent_once_the_plan_accepted_the_body(path):
    async with serving(Shown()) as (_, connect):
        peer = await connect()
        peer.send(post(path, b"", b"Expect: 100-continue").replace(b"Content-Length: 0", b"Content-Length: 2"))
        async with asyncio.timeout(WAIT_S):
            assert await peer.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        peer.send(b"hi")
        assert (await peer.answer())[2] == b"hi"


async def test_body_that_came_unasked_needs_no_continue():
    async with serving(Shown()) as (_, connect):
        peer = await connect()
        for path in (b"/", b"/stream"):
            peer.send(post(path, b"here", b"Expect: 100-continue"))
            status, _, body = await peer.answer()
            assert (status, body) == (200, b"here")


async def test_continue_waits_for_the_answers_before_it():
    app = Shown()
    async with serving(app) as (_, connect):
        peer = await connect()
        waiting = post(b"/", b"", b"Expect: 100-continue").replace(b"Content-Length: 0", b"Content-Length: 2")
        peer.send(b"GET /held HTTP/1.1\r\n" + HOST + b"\r\n" + waiting)
        await until(lambda: app.held)
        app.held[0].send(204, ())
        assert (await peer.answer())[0] == 204
        async with asyncio.timeout(WAIT_S):
            assert b"100 Continue" in await peer.reader.readuntil(b"\r\n\r\n")
        peer.send(b"ok")
        assert (await peer.answer())[2] == b"ok"


async def test_refused_expectation_gets_no_continue():
    async with serving(Shown()) as (_, connect):
        for path in (b"/refused", b"/too-long"):
            peer = await connect()
            peer.send(post(path, b"", b"Expect: 100-continue").replace(b"Content-Length: 0", b"Content-Length: 2000"))
            assert (await peer.answer())[0] == (403 if path == b"/refused" else 413)
            assert await peer.rest() == b""


# -- answers


async def test_head_204_and_304_have_no_body():
    async with serving(Shown()) as (_, connect):
        peer = await connect()
        peer.send(GET.replace(b"GET", b"HEAD") + b"GET /nothing HTTP/1.1\r\n" + HOST + b"\r\n" + GET)
        async with asyncio.timeout(WAIT_S):
            assert b"content-length: 0\r\n" in await peer.reader.readuntil(b"\r\n\r\n")
            assert b"content-length" not in await peer.reader.readuntil(b"\r\n\r\n")
        assert (await peer.answer())[0] == 200


@pytest.mark.parametrize(
    ("request_bytes", "is_kept"),
    [
        (GET, True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
    ],
)
async def test_connection_is_kept_or_ended_as_asked_and_says_so(request_bytes, is_kept):
    async with serving(Shown()) as (_, connect):
        peer = await connect()
        peer.send(request_bytes)
        assert (await peer.answer())[1]["connection"] == ("keep-alive" if is_kept else "close")
        if is_kept:
            peer.send(request_bytes)
            assert (await peer.answer())[0] == 200
        else:
            assert await peer.rest() == b""


async def test_streamed_answer_comes_in_chunks_with_trailers():
    app = Shown()
    app.chunks = [b"ab", b"", b"c" * 17]
    async with serving(app) as (_, connect):
        peer = await connect()
        peer.send(b"GET /chunks HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
        _, _, body = (await peer.rest()).partition(b"\r\n\r\n")
        assert body == b"2\r\nab\r\n11\r\n" + b"c" * 17 + b"\r\n0\r\nx-checksum: 7\r\n\r\n"


async def test_streamed_answer_of_known_length_comes_without_chunks():
    app = Shown()
    app.chunks = [b"ab", b"cde"]
    async with serving(app) as (_, connect):
        peer = await connect()
        peer.send(GET.replace(b"/ ", b"/sized ") * 2)
        assert [(await peer.answer())[2] for _ in range(2)] == [b"abcde"] * 2


@pytest.mark.parametrize("chunks", [[b"ab"], [b"0123456789"]], ids=["shorter", "longer"])
async def test_streamed_answer_of_another_length_than_said_breaks_the_connection_off(chunks):
    app = Shown()
    app.chunks = chunks
    async with serving(app) as (_, connect):
        peer = await connect()
        peer.send(GET.replace(b"/ ", b"/short ") + GET)
        answer = await peer.rest()
        assert answer.count(b"HTTP/1.1") <= 1
        assert b"content-length: 9" not in answer.lower() or len(answer.partition(b"\r\n\r\n")[2]) < 9


async def test_streamed_answer_to_http_1_0_ends_with_the_connection():
    app = Shown()
    app.chunks = [b"ab", b"c"]
    async with serving(app) as (_, connect):
        peer = await connect()
        peer.send(b"GET /chunks HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        head, _, body = (await peer.rest()).partition(b"\r\n\r\n")
        assert body == b"abc"
        assert b"chunked" not in head


async def test_writer_waits_for_a_peer_that_does_not_read():
    app = Shown()
    app.chunks = _counted(written := [], b"x" * 65536, 400)
    async with serving(app) as (_, connect):
        peer = await connect()
        peer.writer.transport.pause_reading()
        peer.send(GET.replace(b"/ ", b"/chunks "))
        await until(lambda: written)
        before = -1
        while before != len(written):  # it stands still once all buffers between the two are full
            before = len(written)
            await asyncio.sleep(0.05)
        assert len(written) < 400
        peer.writer.transport.resume_reading()
        async with asyncio.timeout(WAIT_S):
            total = 0
            while len(written) < 400 or total < 400 * 65536:
                total += len(await peer.reader.read(1 << 20))
        assert len(written) == 400


def _counted(written, chunk, count):
    for number in range(count):
        written.append(number)
        yield chunk


async def test_reader_that_does_not_read_holds_the_sender_back():
    app = Shown()
    app.limit = 1 << 30
    gate = asyncio.Event()
    taken = []

    async def slow(request, reply):
        await gate.wait()
        async for chunk in request.stream:
            taken.append(len(chunk))
        reply.send(200, ())

    app._stream = slow
    async with serving(app) as (_, connect):
        peer = await connect()
        peer.send(b"POST /stream HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (64 << 20))
        sent = 0
        with pytest.raises(TimeoutError):  # noqa: PT012
            async with asyncio.timeout(0.5):
                while sent < 64 << 20:
                    peer.send(b"x" * 65536)
                    sent += 65536
                    await peer.writer.drain()
        assert sent < 32 << 20
        gate.set()
        peer.send(b"x" * ((64 << 20) - sent))
        assert (await peer.answer())[0] == 200
        assert sum(taken) == 64 << 20


async def test_application_that_fails_costs_one_connection_and_no_other():
    async with serving(Shown()) as (_, connect):
        bystander = await connect()
        for path in (b"/fails", b"/fails-later", b"/plan-fails"):
            peer = await connect()
            peer.send(GET.replace(b"/ ", path + b" ") + GET)
            status, headers, _ = await peer.answer()
            assert (status, headers["connection"]) == (500, "close")
            assert await peer.rest() == b""
        peer = await connect()
        peer.send(GET.replace(b"/ ", b"/fails-midway "))
        assert not (await peer.rest()).endswith(b"0\r\n\r\n"), "a broken answer looks whole"
        bystander.send(GET)
        assert (await bystander.answer())[0] == 200


async def test_second_answer_is_refused_and_the_first_stands():
    app = Shown()
    async with serving(app) as (_, connect):
        peer = await connect()
        peer.send(GET.replace(b"/ ", b"/twice ") + GET)
        assert [(await peer.answer())[0] for _ in range(2)] == [200, 200]
        assert len(app.errors) == 1


# -- limits and hostile bytes

SMUGGLED = {
    "both-lengths": b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both-lengths-reversed": b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "two-lengths": b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "two-equal-lengths": b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "list-of-lengths": b"Content-Length: 3, 3\r\n\r\nabc",
    "signed-length": b"Content-Length: +3\r\n\r\nabc",
    "hex-length": b"Content-Length: 0x3\r\n\r\nabc",
    "negative-length": b"Content-Length: -3\r\n\r\nabc",
    "huge-length": b"Content-Length: 99999999999999999999999\r\n\r\nabc",
    "empty-length": b"Content-Length: \r\n\r\nabc",
    "gzip": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "identity": b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "xchunked": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked-twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "tab-before-chunked": b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "space-before-colon": b"Content-Length : 3\r\n\r\nabc",
    "folded-line": b"X: a\r\n b\r\n\r\n",
    "folded-first": b" X: a\r\n\r\n",
    "bare-line-feed": b"X: a\nContent-Length: 3\r\n\r\nabc",
    "bare-carriage-return": b"X: a\rY: b\r\n\r\n",
    "nul-in-value": b"X: a\0b\r\n\r\n",
    "nul-in-name": b"X\0: b\r\n\r\n",
    "no-colon": b"nonsense\r\n\r\n",
    "no-name": b": x\r\n\r\n",
    "two-hosts": b"Host: b\r\n\r\n",
    "chunk-size-prefix": b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    "chunk-size-blank": b"Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
    "chunk-size-sign": b"Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
    "chunk-size-huge": b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc",
    "chunk-size-line-feed": b"Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
    "chunk-longer-than-said": b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    "chunk-without-end": b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc0\r\n\r\n",
    "chunk-extension-line-feed": b"Transfer-Encoding: chunked\r\n\r\n3;a\nb\r\nabc\r\n0\r\n\r\n",
    "trailer-length": b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 3\r\n\r\n",
}


@pytest.mark.parametrize("rest", SMUGGLED.values(), ids=SMUGGLED)
async def test_smuggled_request_is_refused_and_nothing_after_it_is_read(rest):
    app = Shown()
    async with serving(app) as (_, connect):
        peer = await connect()
        peer.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + rest + GET)
        status, headers, _ = await peer.answer()
        assert status in (400, 501)
        assert headers["connection"] == "close"
        assert await peer.rest() == b""
        assert app.requests == []


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET /\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
)
async def test_line_that_is_no_request_of_ours_is_refused(line, status):
    async with serving(Shown()) as (_, connect):
        peer = await connect()
        peer.send(line)
        assert (await peer.answer())[0] == status
        assert await peer.rest() == b""


async def test_refusal_comes_after_the_answers_before_it():
    async with serving(Shown()) as (_, connect):
        peer = await connect()
        peer.send(post(b"/", b"1") + b"nonsense\r\n\r\n" + GET)
        assert (await peer.answer())[2] == b"1"
        assert (await peer.answer())[0] == 400
        assert await peer.rest() == b""


async def test_body_over_the_plan_is_refused_before_it_is_read():
    app = Shown()
    async with serving(app) as (_, connect):
        for request, expected in (
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n", (413, b"request body is too large\n")),
            (b"POST /mine HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n", (413, b"mine")),
            (b"POST /refused HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", (403, b"not you")),
        ):
            peer = await connect()
            peer.send(request)
            status, _, body = await peer.answer()
            assert (status, body) == expected
            assert await peer.rest() == b""
        peer = await connect()
        peer.send(post(b"/", b"x" * 1000))
        assert (await peer.answer())[0] == 200
        assert len(app.requests) == 1


@pytest.mark.parametrize(("path", "body"), [(b"/", b"request body is too large\n"), (b"/mine", b"mine")])
async def test_chunked_body_is_counted(path, body):
    app = Shown()
    async with serving(app) as (_, connect):
        peer = await connect()
        peer.send(chunked(path, b"3e8", b"x" * 1000, b"1", b"y", b"0"))
        status, _, answer = await peer.answer()
        assert (status, answer) == (413, body)
        assert await peer.rest() == b""
        assert app.requests == []


async def test_streamed_body_over_the_plan_fails_its_reader():
    app = Shown()
    async with serving(app) as (_, connect):
        peer = await connect()
        peer.send(chunked(b"/stream", b"3e8", b"x" * 1000, b"1", b"y", b"0"))
        status, headers, _ = await peer.answer()
        assert (status, headers["connection"]) == (400, "close")
        assert type(app.errors[0]).__name__ == "BodyTooLarge"


async def test_peer_that_sends_a_refused_body_anyway_reads_the_refusal():
    async with serving(Shown()) as (_, connect):
        peer = await connect()
        peer.send(post(b"/", b"x" * 5_000_000))
        assert (await peer.answer())[0] == 413
        assert await peer.rest() == b""


async def test_answer_given_before_the_body_was_read_ends_the_connection():
    async with serving(Shown()) as (_, connect):
        peer = await connect()
        peer.send(b"POST /stream-early HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n")
        _, headers, body = await peer.answer()
        assert (headers["connection"], body) == ("close", b"enough")
        assert await peer.rest() == b""


async def test_head_up_to_its_limit_is_read_and_one_byte_more_is_not():
    app = Shown()
    limits = HttpLimits(head_limit_bytes=40_000)
    frame = len(b"GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n")
    async with serving(app, limits=limits) as (_, connect):
        for extra, status in ((0, 200), (1, 431)):
            peer = await connect()
            peer.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * (40_000 - frame + extra) + b"\r\n\r\n")
            assert (await peer.answer())[0] == status


@pytest.mark.parametrize(
    "endless",
    [
        b"GET /" + b"a" * 200_000,
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 200_000,
        b"GET / HTTP/1.1\r\nHost: a\r\nX" + b"x" * 200_000,
        chunked(b"/", b"1", b"x", b"0")[:-4] + b"\r\nT: " + b"t" * 200_000,
        chunked(b"/", b"1;" + b"e" * 200_000)[:-4],
    ],
    ids=["target", "value", "name", "trailer", "chunk-extension"],
)
async def test_head_without_end_is_refused(endless):
    async with serving(Shown(), limits=HttpLimits(head_limit_bytes=40_000)) as (_, connect):
        peer = await connect()
        peer.send(endless)
        assert (await peer.answer())[0] == 431
        assert await peer.rest() == b""


async def test_headers_and_trailers_are_counted():
    async with serving(Shown(), limits=HttpLimits(header_limit=5)) as (_, connect):
        for lines, status in ((3, 200), (5, 431)):
            peer = await connect()
            peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * lines + b"\r\n")
            assert (await peer.answer())[0] == status
        peer = await connect()
        peer.send(chunked(b"/", b"0", *[b"T: u"] * 6))
        assert (await peer.answer())[0] == 431


async def test_connections_over_the_limit_are_dropped():
    async with serving(Shown(), limits=HttpLimits(connection_limit=1)) as (server, connect):
        first = await connect()
        await until(lambda: server.connection_count == 1)
        second = await connect()
        assert await second.rest() == b""
        first.send(GET)
        assert (await first.answer())[0] == 200


async def test_unfinished_bodies_of_all_connections_together_are_bounded():
    app = Shown()
    app.limit = 1 << 20
    starts = {
        "length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n" + b"x" * 290_000,
        "chunked": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n493e0\r\n" + b"x" * 290_000,
    }
    for start in starts.values():
        async with serving(app, limits=HttpLimits(held_limit_bytes=1_000_000)) as (server, connect):
            peers = [await connect() for _ in range(4)]
            for number, peer in enumerate(peers):
                peer.send(start)
                if number < 3:
                    await until(lambda reached=number + 1: server.held_bytes >= reached * 290_000)
            status, headers, _ = await peers[3].answer()
            assert (status, headers["connection"]) == (503, "close")
            assert 870_000 <= server.held_bytes <= 900_000
            peers[0].send(b"x" * 10_000 + (b"\r\n0\r\n\r\n" if b"chunked" in start else b""))
            assert (await peers[0].answer())[0] == 200
            peers[1].close()
            await until(lambda: server.held_bytes <= 300_000)


# -- time


async def test_idle_connection_is_closed_and_a_trickle_of_nothing_does_not_hold_it():
    clock = [0.0]
    async with serving(Shown(), clock=clock, limits=HttpLimits(idle_timeout_s=10)) as (server, connect):
        peer = await connect()
        peer.send(GET)
        await peer.answer()
        for _ in range(4):
            clock[0] += 2.0
            peer.send(b"\r\n")
            await asyncio.sleep(0.01)
            server.sweep.sweep_once()
        assert server.connection_count == 1
        clock[0] += 4.0
        server.sweep.sweep_once()
        assert await peer.rest() == b""


async def test_request_in_time_starts_the_idle_time_anew():
    clock = [0.0]
    async with serving(Shown(), clock=clock, limits=HttpLimits(idle_timeout_s=10)) as (server, connect):
        peer = await connect()
        for _ in range(3):
            clock[0] += 8.0
            server.sweep.sweep_once()
            peer.send(GET)
            assert (await peer.answer())[0] == 200


TRICKLED = {
    "head": (b"GET / HTTP/1.1\r\nX: ", b"x"),
    "body": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n", b"x"),
    "chunks": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
}


@pytest.mark.parametrize(("first", "piece"), TRICKLED.values(), ids=TRICKLED)
async def test_peer_that_trickles_is_told_and_cut_off(first, piece):
    clock = [0.0]
    limits = HttpLimits(head_timeout_s=20, body_timeout_s=20, body_rate_bytes=1000)
    app = Shown()
    async with serving(app, clock=clock, limits=limits) as (server, connect):
        peer = await connect()
        peer.send(first)
        for _ in range(10):
            await asyncio.sleep(0.01)
            clock[0] += 2.0
            server.sweep.sweep_once()
            peer.send(piece)
        assert server.connection_count == 1
        clock[0] += 2.0
        server.sweep.sweep_once()
        assert (await peer.answer())[0] == 408
        assert app.requests == []
        clock[0] += 4.0
        server.sweep.sweep_once()
        await until(lambda: server.connection_count == 0)


async def test_trickled_stream_fails_its_reader():
    clock = [0.0]
    app = Shown()
    async with serving(app, clock=clock, limits=HttpLimits(body_timeout_s=20)) as (server, connect):
        peer = await connect()
        peer.send(b"POST /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\nx")
        await until(lambda: app.requests)
        clock[0] += 30.0
        server.sweep.sweep_once()
        assert (await peer.answer())[0] == 400
        assert len(app.errors) == 1


async def test_answer_may_take_longer_than_every_timeout():
    clock = [0.0]
    app = Shown()
    async with serving(app, clock=clock) as (server, connect):
        peer = await connect()
        peer.send(post(b"/held", b"x"))
        await until(lambda: app.held)
        clock[0] += 900.0
        server.sweep.sweep_once()
        app.held[0].send(200, (), b"late")
        assert (await peer.answer())[2] == b"late"


async def test_peer_that_never_reads_its_answer_is_cut_off():
    clock = [0.0]
    app = Shown()
    app.limit = 40_000_000
    async with serving(app, clock=clock, limits=HttpLimits(write_timeout_s=60)) as (server, connect):
        peer = await connect()
        peer.writer.transport.pause_reading()
        peer.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: app.held)
        app.held[0].send(200, (), b"x" * 40_000_000)
        await asyncio.sleep(0.05)
        clock[0] += 61.0
        server.sweep.sweep_once()
        assert server.connection_count == 1, "a large answer is given the time that its size takes"
        clock[0] += 40_000_000 / (16 * 1024)
        server.sweep.sweep_once()
        await until(lambda: server.connection_count == 0)


async def test_writer_to_a_peer_that_was_cut_off_is_set_free():
    clock = [0.0]
    app = Shown()
    app.chunks = _counted(written := [], b"x" * 65536, 400)
    async with serving(app, clock=clock, limits=HttpLimits(write_timeout_s=60)) as (server, connect):
        peer = await connect()
        peer.writer.transport.pause_reading()
        peer.send(GET.replace(b"/ ", b"/chunks "))
        before = -1
        while before != len(written) or not written:
            before = len(written)
            await asyncio.sleep(0.05)
        assert len(written) < 400
        clock[0] += 1000.0
        server.sweep.sweep_once()
        await until(lambda: len(written) == 400 and server.connection_count == 0)


async def test_patient_limits_never_end_a_silent_peer():
    clock = [0.0]
    app = Shown()
    async with serving(app, clock=clock, limits=PATIENT) as (server, connect):
        silent, polling, slow = await connect(), await connect(), await connect()
        polling.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        slow.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nh")
        await until(lambda: app.held and server.connection_count == 3)
        clock[0] += 1e6
        server.sweep.sweep_once()
        app.held[0].send(200, (), b"event")
        slow.send(b"i")
        silent.send(GET)
        assert [(await each.answer())[2] for each in (polling, slow, silent)] == [b"event", b"hi", b""]


# -- going


async def test_peer_that_hangs_up_is_reported_once_and_answering_him_is_harmless():
    app = Shown()
    async with serving(app, limits=PATIENT) as (server, connect):
        peer = await connect()
        peer.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: app.held)
        reply = app.held[0]
        assert not reply.is_gone
        peer.close()
        await until(lambda: app.gone)
        await until(lambda: server.connection_count == 0)
        late = []
        reply.on_gone(lambda: late.append(1))
        reply.send(200, (), b"nobody")
        assert (reply.is_gone, app.gone, late) == (True, 1, [1])


async def test_hanging_up_cancels_no_coroutine_of_the_application():
    app = Shown()
    ended, gate = asyncio.Event(), asyncio.Event()

    async def work(request, reply):
        await gate.wait()
        ended.set()

    app._stream = work
    async with serving(app, limits=PATIENT) as (server, connect):
        peer = await connect()
        peer.send(post(b"/stream", b"x"))
        await until(lambda: app.requests)
        peer.close()
        await until(lambda: server.connection_count == 0)
        gate.set()
        async with asyncio.timeout(WAIT_S):
            await ended.wait()


async def test_half_closed_peer_still_gets_its_answers():
    app = Shown()
    async with serving(app) as (server, connect):
        peer = await connect()
        peer.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n" + GET + b"GET /cut")
        peer.writer.write_eof()
        await until(lambda: app.gone)
        app.held[0].send(200, (), b"held")
        assert [(await peer.answer())[2] for _ in range(2)] == [b"held", b""]
        assert await peer.rest() == b""
        await until(lambda: server.connection_count == 0)


async def test_half_closed_peer_does_not_hold_a_connection_for_ever():
    clock = [0.0]
    app = Shown()
    async with serving(app, clock=clock) as (server, connect):
        peer = await connect()
        peer.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: app.held)
        peer.writer.write_eof()
        await until(lambda: app.gone)
        clock[0] += 40.0
        server.sweep.sweep_once()
        await until(lambda: server.connection_count == 0)


@pytest.mark.parametrize("path", [b"/", b"/stream"])
async def test_request_cut_off_in_its_body_is_never_taken_for_whole(path):
    app = Shown()
    async with serving(app) as (server, connect):
        for request in (post(path, b"abc")[:-1], chunked(path, b"3", b"abc")[:-2]):
            peer = await connect()
            peer.send(request)
            if path == b"/stream":
                await until(lambda: app.requests)
            peer.close()
            await until(lambda: server.connection_count == 0)
            assert len(app.errors) == len(app.requests)
            app.requests.clear(), app.errors.clear()


async def test_close_lets_answers_in_flight_end_and_takes_no_new_connection():
    app = Shown()
    async with serving(app) as (server, connect):
        busy, idle = await connect(), await connect()
        busy.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: app.held and server.connection_count == 2)
        closing = asyncio.ensure_future(server.close(WAIT_S))
        assert await idle.rest() == b""
        with pytest.raises((OSError, EOFError)):  # noqa: PT012  refused or reset, as the kernel has it
            newcomer = await connect()
            newcomer.send(GET)
            await newcomer.answer()
        assert not closing.done()
        app.held[0].send(200, (), b"last")
        status, headers, body = await busy.answer()
        assert (status, headers["connection"], body) == (200, "close", b"last")
        await closing
        with socket.socket() as another, pytest.raises(RuntimeError):
            await server.serve(another)


async def test_close_cancels_what_outlasts_its_grace():
    app = Shown()
    cancelled = []

    async def work(request, reply):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(1)
            raise

    app._stream = work
    async with serving(app) as (server, connect):
        peer = await connect()
        peer.send(post(b"/stream", b"x"))
        await until(lambda: app.requests)
        await server.close(0.01)
        assert (cancelled, server.connection_count) == ([1], 0)
        assert await peer.rest() == b""


# -- clients and sockets that others made


async def test_unix_socket_is_served_too(tmp_path):
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "socket"))
    async with serving(Shown(), listening=listening) as (_, connect):
        peer = await connect()
        peer.send(GET)
        assert (await peer.answer())[0] == 200


async def test_stock_clients_are_content():
    app = Shown()
    app.limit = 3_000_000
    async with serving(app) as (server, connect):
        await connect()
        host, port = next(iter(server._listeners)).sockets[0].getsockname()

        def talk():
            stock = http.client.HTTPConnection(host, port, timeout=WAIT_S)
            for body in (b"abc", b"x" * 2_000_000):
                stock.request("POST", "/", body)
                yield stock.getresponse().read() == body
            stock.request("POST", "/stream", itertools.repeat(b"abc", 500), encode_chunked=True)
            yield stock.getresponse().read() == b"abc" * 500
            stock.close()
            with urllib3.PoolManager(timeout=WAIT_S) as pool:
                yield pool.request("PUT", f"http://{host}:{port}/a?b=c", body=b"y" * 100_000).data == b"y" * 100_000
                yield pool.request("HEAD", f"http://{host}:{port}/").status == 200

        assert await asyncio.to_thread(lambda: list(talk())) == [True] * 5

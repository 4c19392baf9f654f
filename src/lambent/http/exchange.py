"""One request and its answer on a connection: the server's ``Reply``, and the body on its way in."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, Protocol

import structlog
from typing_extensions import override

from lambent.http.application import BodyPlan, BodyTooLarge, Headers, HttpRefusal, IncompleteBody, Request, RequestHead
from lambent.http.framing import Framing, has_no_body, render_head, render_trailers

ONE_WRITE_LIMIT_BYTES: Final = 32 * 1024  # a longer body is not copied behind its head: both go out in one writev
STREAM_HIGH_BYTES: Final = 256 * 1024
TOO_LARGE: Final = HttpRefusal(413, (("content-type", "text/plain"),), b"request body is too large\n")

log = structlog.get_logger(__name__)


class Line(Protocol):
    """What an exchange needs of its connection."""

    @property
    def is_gone(self) -> bool:
        """Whether the peer hung up."""
        ...

    def write(self, *parts: bytes) -> None:
        """Write ``parts`` as one; a no-op when the peer is gone."""
        ...

    async def drain(self) -> None:
        """Return when the peer's buffer has room, or the peer is gone."""
        ...

    def body_taken(self) -> None:
        """A reader made room in a streamed body."""
        ...

    def exchange_ended(self, exchange: "Exchange") -> None:
        """The answer is complete."""
        ...

    def break_off(self) -> None:
        """End the connection in the middle of an answer."""
        ...


class BodyStream(AsyncIterator[bytes]):
    """A request body as it arrives. One reader; what is not read yet holds the peer back."""

    __slots__ = ("_chunks", "_error", "_is_ended", "_line", "_waiter", "buffered_bytes")

    def __init__(self, line: Line) -> None:
        self._line = line
        self._chunks: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._error: IncompleteBody | None = None
        self._is_ended = False
        self.buffered_bytes = 0

    @override
    async def __anext__(self) -> bytes:
        """Return the next piece; IncompleteBody if the rest will not come."""
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._is_ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        chunk = self._chunks.popleft()
        was_full = self.buffered_bytes >= STREAM_HIGH_BYTES
        self.buffered_bytes -= len(chunk)
        if was_full and self.buffered_bytes < STREAM_HIGH_BYTES:
            self._line.body_taken()
        return chunk

    def feed(self, chunk: bytes) -> None:
        """Add a piece that arrived."""
        self._chunks.append(chunk)
        self.buffered_bytes += len(chunk)
        self._wake()

    def end(self, error: IncompleteBody | None = None) -> None:
        """Nothing more will arrive; a second end is ignored."""
        if not self._is_ended:
            self._is_ended, self._error = True, error
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Exchange:
    """A request from its head on, and the ``Reply`` that answers it."""

    # What most requests never need stands here and is set where it is needed: one exchange a hop is made.
    _is_sent_chunked = False
    _is_sent_raw = False
    _owed_bytes: int | None = None  # of a streamed answer of known length
    _gone_callbacks: list[Callable[[], None]] | None = None
    _request: Request | None = None
    plan: BodyPlan | None = None
    refusal: HttpRefusal | None = None
    stream: BodyStream | None = None
    trailers: Sequence[tuple[str, str]] = ()
    body_bytes = 0
    expects_continue = False  # the peer waits for leave to send the body
    is_abandoned = False  # the peer may still be sending what nobody reads
    is_complete = False  # the request has arrived to its last byte, or no more of it will be read
    is_dispatched = False
    is_started = False
    is_finished = False

    def __init__(
        self, line: Line, head: RequestHead, framing: Framing, *, is_kept_alive: bool, is_http_1_0: bool
    ) -> None:
        self._line = line
        self._framing = framing
        self._is_http_1_0 = is_http_1_0
        self._body_parts: list[bytes] = []
        self.head = head
        self.is_kept_alive = is_kept_alive
        if framing.expects_continue:
            self.expects_continue = True

    # -- the request's side, used by the connection

    @property
    def is_ready(self) -> bool:
        """Whether the application can have it."""
        return self.is_complete or self.stream is not None

    @property
    def missing_bytes(self) -> int | None:
        """How much of a body of known length is still to come; None for a chunked one."""
        length = self._framing.content_length
        return None if length is None else length - self.body_bytes

    def accept(self, plan: BodyPlan) -> None:
        """Follow ``plan``; a body that is known to be too long is refused before any of it is read."""
        self.plan = plan
        length = self._framing.content_length or 0
        if length > plan.limit_bytes:
            self.refuse(plan.too_large or TOO_LARGE)
        elif plan.is_streamed and (length or self._framing.is_chunked):
            self.stream = BodyStream(self._line)

    def refuse(self, refusal: HttpRefusal) -> None:
        """Answer with ``refusal`` when the turn comes, read no more, close then."""
        self.refusal, self.is_kept_alive, self.is_complete, self.is_abandoned = refusal, False, True, True
        self._body_parts.clear()

    def receive(self, chunk: bytes) -> bool:
        """Take a piece of the body; False if that made it too long, and the rest is not wanted."""
        self.body_bytes += len(chunk)
        if self.plan is not None and self.body_bytes > self.plan.limit_bytes:
            if self.stream is None:
                self.refuse(self.plan.too_large or TOO_LARGE)
            else:
                self.abandon(BodyTooLarge("request body is too large"))
            return False
        if self.stream is None:
            self._body_parts.append(chunk)
        elif not self.is_finished:
            self.stream.feed(chunk)
        return True

    def fill(self, body: bytes) -> None:
        """The request is here whole, and about to be handed on."""
        if body:
            self._body_parts.append(body)
            self.body_bytes = len(body)
        self.is_complete = self.is_dispatched = True

    def complete(self) -> None:
        """The request has arrived to its last byte."""
        self.is_complete = True
        if self.stream is not None:
            if self._request is not None:
                self._request.trailers = tuple(self.trailers)
            self.stream.end()

    def abandon(self, error: IncompleteBody) -> None:
        """No more of the request will be read."""
        if not self.is_complete:
            self.is_complete, self.is_kept_alive, self.is_abandoned = True, False, True
            if self.stream is not None:
                self.stream.end(error)

    def request(self) -> Request:
        """Return the request for the application."""
        parts = self._body_parts
        body = b"" if not parts else parts[0] if len(parts) == 1 else b"".join(parts)
        self._body_parts = []
        self._request = Request(self.head, body, self.stream, tuple(self.trailers))
        return self._request

    def peer_gone(self) -> None:
        """The peer hung up: tell whoever asked to know."""
        callbacks, self._gone_callbacks = self._gone_callbacks, None
        for callback in callbacks or ():
            try:
                callback()
            except Exception:  # the edge of one unit of work: the other callbacks must still run
                log.exception("gone_callback_failed")

    # -- the Reply, used by the application

    @property
    def is_gone(self) -> bool:
        """Whether the peer hung up."""
        return self._line.is_gone

    def on_gone(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once if the peer hangs up before the answer is complete; at once if it has."""
        if self._line.is_gone:
            callback()
        elif not self.is_finished:
            if self._gone_callbacks is None:
                self._gone_callbacks = []
            self._gone_callbacks.append(callback)

    def send(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """Send a whole answer in one write."""
        if self.is_started:
            raise RuntimeError("a request is answered once")
        if not self.is_complete:
            self._stop_reading_early()
        framing = "" if has_no_body(status) else f"content-length: {len(body)}\r\n"
        head = render_head(status, headers, framing, is_kept_alive=self.is_kept_alive)
        self.is_started = True
        if not body or not framing or self.head.method == "HEAD":
            self._line.write(head)
        elif len(body) <= ONE_WRITE_LIMIT_BYTES:
            self._line.write(head + body)
        else:
            self._line.write(head, body)
        self._end()

    def start(self, status: int, headers: Headers) -> None:
        """Begin an answer in chunks."""
        if self.is_started:
            raise RuntimeError("a request is answered once")
        has_body = not has_no_body(status)
        length = next((int(value) for name, value in headers if name.lower() == "content-length"), None)
        is_chunked = has_body and not self._is_http_1_0 and length is None
        if has_body and not is_chunked and length is None:
            self.is_kept_alive = False  # HTTP/1.0 knows no chunks: the connection's end is the body's end
        framing = "transfer-encoding: chunked\r\n" if is_chunked else ""
        head = render_head(status, headers, framing, is_kept_alive=self.is_kept_alive)
        self.is_started = True
        self._owed_bytes = length
        self._is_sent_chunked = is_chunked and self.head.method != "HEAD"
        self._is_sent_raw = has_body and not is_chunked and self.head.method != "HEAD"
        self._line.write(head)

    async def write(self, chunk: bytes) -> None:
        """Send a chunk; returns when the peer's buffer has room again."""
        if not self.is_started or self.is_finished:
            raise RuntimeError("write outside of start and finish")
        if chunk and self._is_sent_chunked:
            self._line.write(b"%x\r\n" % len(chunk), chunk, b"\r\n")
        elif chunk and self._is_sent_raw:
            if self._owed_bytes is not None:
                self._owed_bytes -= len(chunk)
                if self._owed_bytes < 0:
                    raise RuntimeError("an answer is longer than its content-length")
            self._line.write(chunk)
        await self._line.drain()

    def finish(self, trailers: Headers = ()) -> None:
        """End an answer in chunks."""
        if not self.is_started or self.is_finished:
            raise RuntimeError("finish outside of an answer in chunks")
        if self._is_sent_chunked:
            self._line.write(render_trailers(trailers))
        if self._is_sent_raw and self._owed_bytes:
            self.fail()  # the peer would wait for the rest
            return
        self._stop_reading_early()
        self._end()

    def fail(self) -> None:
        """The application failed: 500 if nothing was sent yet, else break off, so that nobody takes it for whole."""
        if self.is_finished:
            return
        self.is_kept_alive = False
        if self.is_started:
            self.is_finished = True
            self._line.break_off()
        else:
            self.send(500, (("content-type", "text/plain"),), b"internal error\n")

    def _stop_reading_early(self) -> None:
        if not self.is_complete:  # answered before its body was read: where the next request begins is unknown
            self.abandon(IncompleteBody("the request was answered already"))

    def _end(self) -> None:
        self.is_finished = True
        self._gone_callbacks = None
        self._line.exchange_ended(self)

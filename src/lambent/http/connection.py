"""One connection: bytes to requests in order, answers back in order, and the deadlines of a slow peer.

Framing is llhttp's (httptools), strict; what it leaves open is decided in ``framing``. While an answer is awaited the
peer's further bytes stay unparsed, so a pipelining peer costs one read buffer and not one object per request.
"""

import asyncio
import socket
from collections import deque
from math import inf
from typing import Final, NoReturn, cast

import httptools
import structlog
from typing_extensions import override

from lambent.http.application import HttpRefusal, IncompleteBody, RequestHead
from lambent.http.exchange import STREAM_HIGH_BYTES, Exchange
from lambent.http.framing import CONTINUE, NO_BODY, Malformed, decide_framing, head_bytes, parse_target
from lambent.http.owner import Owner
from lambent.http.patience import Waiting, decide_patience_s
from lambent.http.plain import PlainReader, PlainRequest

SLICE_BYTES: Final = 16 * 1024  # parsed at once: bounds how many requests a pipelining peer makes us hold
TURN_REQUESTS: Final = 16  # answered in a row: then others on the loop have their turn
BUSY: Final = HttpRefusal(503, (("content-type", "text/plain"),), b"too much is being sent at once\n")

log = structlog.get_logger(__name__)


class Connection(asyncio.Protocol):
    """The protocol of one peer. Its own ``Line``."""

    __slots__ = (
        "_direct_bytes",
        "_drained",
        "_failure",
        "_fields",
        "_framing_bytes",
        "_head_started",
        "_idle_patience_s",
        "_incoming",
        "_is_discarding",
        "_is_half_closed",
        "_is_pumping",
        "_is_read_paused",
        "_is_write_paused",
        "_limits",
        "_lingered_bytes",
        "_names",
        "_owner",
        "_parser",
        "_peer",
        "_plain",
        "_queue",
        "_served",
        "_sweep",
        "_target",
        "_transport",
        "_unread",
        "_waiting",
        "_waiting_since_s",
        "deadline_mono_s",
    )

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._limits = owner.limits
        self._sweep = owner.sweep
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._peer = ""
        self._queue: deque[Exchange] = deque()  # in the order of their requests; only the first may write
        self._incoming: Exchange | None = None  # the one whose body arrives
        self._unread = b""
        self._target = b""
        self._names = owner.header_names
        self._plain = PlainReader(owner.header_names, owner.limits.header_limit)
        self._fields: list[tuple[bytes, bytes]] = []  # the headers, or the trailers, that are being parsed
        self._framing_bytes = 0  # of the head, or of a chunk's framing or the trailers, that is being parsed
        self._direct_bytes = 0  # of a body of known length that bypasses the parser
        self._head_started = False
        self._is_discarding = False  # nothing of the input counts any more
        self._is_half_closed = False
        self._is_pumping = False
        self._is_read_paused = False
        self._is_write_paused = False
        self._served = 0  # in this turn of the loop
        self._lingered_bytes = 0
        self._idle_patience_s = owner.sweep.interval_s + decide_patience_s(
            Waiting.REQUEST, owner.limits, body_bytes=0, unsent_bytes=0
        )
        self._failure: Malformed | None = None
        self._waiting: Waiting | None = None
        self._waiting_since_s = 0.0
        self._drained: list[asyncio.Future[None]] = []
        self.deadline_mono_s = inf

    # -- asyncio.Protocol

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection in and start its idle time."""
        self._transport = cast("asyncio.Transport", transport)
        if not self._owner.connection_opened(self):
            self.break_off()
            return
        peer = transport.get_extra_info("socket")
        if peer is not None and peer.family in (socket.AF_INET, socket.AF_INET6):
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            name = transport.get_extra_info("peername")
            self._peer = f"{name[0]}:{name[1]}" if name else ""
        self._sweep.watch(self)
        self._set_deadline()

    @override
    def data_received(self, data: bytes) -> None:
        """Parse as far as the answers in flight allow."""
        if self._is_discarding:
            self._discard(len(data))
        elif self._queue or self._unread or self._head_started or not self._take_whole(data):
            self._unread = self._unread + data if self._unread else data
            self._pump()

    @override
    def eof_received(self) -> bool:
        """Tell the exchanges; keep our side open for a while if answers are in flight."""
        self._is_half_closed = True
        for exchange in tuple(self._queue):
            exchange.peer_gone()
        if self._limits.half_close_timeout_s <= 0:
            return False
        self._pump()
        return bool(self._queue) and self._transport is not None

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything; requests that were read to their end go on without a peer."""
        self._transport = None
        self._is_discarding = True
        self._unread = b""
        self._end_incoming()
        del self._parser  # it holds our bound methods: without it the connection is freed at once
        self._sweep.forget(self)
        self._wake_writers()
        queue = tuple(self._queue)
        self._queue.clear()
        for exchange in queue:
            exchange.abandon(IncompleteBody("the peer hung up"))
            exchange.peer_gone()
        self._owner.connection_closed(self)

    @override
    def pause_writing(self) -> None:
        """The peer takes nothing: writers wait, and so does the parsing of further requests."""
        self._is_write_paused = True
        self._set_deadline()

    @override
    def resume_writing(self) -> None:
        """The peer takes bytes again."""
        self._is_write_paused = False
        self._wake_writers()
        self._pump()

    # -- Line, for exchanges

    @property
    def is_gone(self) -> bool:
        """Whether the peer hung up."""
        return self._transport is None or self._is_half_closed

    def write(self, *parts: bytes) -> None:
        """Write ``parts`` as one; a no-op when the peer is gone."""
        if (transport := self._transport) is None:
            return
        if len(parts) == 1:
            transport.write(parts[0])
        else:
            transport.writelines(parts)

    async def drain(self) -> None:
        """Return when the peer's buffer has room, or the peer is gone."""
        while self._is_write_paused and self._transport is not None:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._drained.append(waiter)
            await waiter

    def body_taken(self) -> None:
        """A reader made room in a streamed body."""
        self._pump()

    def exchange_ended(self, exchange: Exchange) -> None:
        """Go on with the next request, or close."""
        if not self._queue or self._queue[0] is not exchange:
            return  # the connection is gone, and the queue with it
        self._queue.popleft()
        self._waiting = None
        if self._incoming is exchange:
            self._end_incoming()
        if not exchange.is_kept_alive:
            self._close_after(exchange)
        elif not self._is_pumping:  # else whoever pumps goes on
            if self._queue or self._unread or self._is_half_closed or self._is_read_paused or self._is_write_paused:
                self._pump()
            else:
                self._waiting, self._waiting_since_s = Waiting.REQUEST, self._sweep.now_mono_s
                self.deadline_mono_s = self._waiting_since_s + self._idle_patience_s

    def break_off(self) -> None:
        """End the connection now; what is written later goes nowhere, also before the loop reports the loss."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    # -- for the server and its sweep

    def drain_peer(self) -> None:
        """Answer what is in flight, then close; close now if nothing is."""
        if self._queue:
            self._queue[-1].is_kept_alive = False
        elif not self._head_started and not self._unread and self._transport is not None:
            self._transport.close()

    def expire(self) -> None:
        """The deadline has passed: the peer idles, trickles, or does not read."""
        self.deadline_mono_s = inf
        if self._transport is None:
            return
        if self._waiting is Waiting.HEAD or self._waiting is Waiting.BODY:
            self._reject(408, "request took too long")
            self._pump()
        elif self._waiting is Waiting.REQUEST and not self._transport.get_write_buffer_size():
            self._transport.close()
        else:
            self.break_off()  # close() would wait for a peer that does not read

    # -- from bytes to exchanges

    def _take_whole(self, data: bytes) -> bool:
        """Take ``data`` if it is one plain request from head to end, and nothing else is under way: nearly always."""
        owner = self._owner
        if self._is_write_paused or owner.is_draining or self._is_pumping or len(data) > SLICE_BYTES:
            return False
        plain = self._plain.find(data, self._peer)
        if plain is None or plain.end != len(data):
            return False
        body_bytes = plain.end - plain.body_at
        if owner.held_bytes + body_bytes > self._limits.held_limit_bytes:
            return False
        exchange = self._begin_plain(plain)
        if exchange.refusal is not None or exchange.stream is not None:
            self._go_on_plain(exchange, data[plain.body_at :])
            self._pump()
            return True
        exchange.fill(data[plain.body_at :] if body_bytes else b"")
        self._waiting, self.deadline_mono_s = Waiting.ANSWER, inf
        owner.run(exchange)
        return True

    def _pump(self) -> None:
        if self._is_pumping:
            return
        if self._served == TURN_REQUESTS:
            self._set_reading()
            return
        self._is_pumping = True
        self._served = 0
        try:
            if self._queue:
                self._dispatch_ready()
            while self._unread and self._may_parse():
                self._parse_some()
                self._dispatch_ready()
        finally:
            self._is_pumping = False
        if self._is_half_closed:
            self._end_half_closed()
        self._set_reading()
        self._set_deadline()

    def _go_on(self) -> None:
        self._served = 0
        self._pump()

    def _end_half_closed(self) -> None:
        incoming = self._incoming
        if incoming is not None and not self._unread:
            self._end_incoming()
            incoming.abandon(IncompleteBody("the peer ended its side in the middle of a body"))
            if not incoming.is_dispatched:
                self._queue.pop()
        if not self._queue and not self._unread and self._transport is not None:
            self._transport.close()

    def _dispatch_ready(self) -> None:
        while self._queue and not self._is_write_paused and self._transport is not None:
            first = self._queue[0]
            if first.is_dispatched or not first.is_ready:
                self._allow_body(first)
                return
            if self._served == TURN_REQUESTS:
                return
            self._served += 1
            if self._served == TURN_REQUESTS:
                asyncio.get_running_loop().call_soon(self._go_on)
            if first.stream is not None:
                self._allow_body(first)
            first.is_dispatched = True
            if first.refusal is not None:
                first.send(first.refusal.status, first.refusal.headers, first.refusal.body)
            else:
                self._owner.run(first)

    def _may_parse(self) -> bool:
        if self._is_discarding or self._is_write_paused or self._transport is None:
            return False
        if not self._queue:
            return True
        incoming = self._incoming
        if incoming is None or self._queue[0] is not incoming:
            return False
        return incoming.stream is None or incoming.stream.buffered_bytes < STREAM_HIGH_BYTES

    def _parse_some(self) -> None:
        unread = self._unread
        if self._direct_bytes:
            piece = unread[: self._direct_bytes]  # the same object, not a copy, when all of it is body
            self._unread = unread[len(piece) :]
            self._take_direct(piece)
            return
        if len(unread) <= SLICE_BYTES:
            piece, self._unread = unread, b""
        else:
            piece, self._unread = unread[:SLICE_BYTES], unread[SLICE_BYTES:]
        # Between two requests the parser knows nothing: it need not see one that is plain.
        is_between = not (self._queue or self._head_started or self._owner.is_draining)
        if is_between and (plain := self._plain.find(piece, self._peer)) is not None:
            self._go_on_plain(self._begin_plain(plain), piece[plain.body_at :])
            return
        self._feed(piece)
        if self._is_discarding:
            self._unread = b""
        elif self._incoming is not None and (missing := self._incoming.missing_bytes) is not None:
            self._direct_bytes = missing
            self._parser = httptools.HttpRequestParser(self)  # this one would wait for the body

    def _feed(self, piece: bytes) -> None:
        self._framing_bytes += len(piece)
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            # RFC 9110 §7.8: a server may ignore Upgrade; what follows is the next request of this protocol.
            self._parser = httptools.HttpRequestParser(self)
            self._unread = piece[upgrade.args[0] :] + self._unread
        except httptools.HttpParserError as error:
            if self._is_discarding:
                return  # we stopped the parser ourselves, or the peer sent on after its last request
            failure = self._failure or Malformed(400, "request is malformed")
            if isinstance(error, httptools.HttpParserCallbackError) and self._failure is None:
                log.error("callback_failed", exc_info=error)
                failure = Malformed(500, "internal error")
            self._reject(failure.status, failure.reason)
        if self._framing_bytes > self._limits.head_limit_bytes + SLICE_BYTES and not self._is_discarding:
            self._reject(431, "request head is too large")

    def _begin_plain(self, plain: PlainRequest) -> Exchange:
        exchange = Exchange(self, plain.head, plain.framing, is_kept_alive=True, is_http_1_0=False)
        self._queue.append(exchange)
        self._plan(exchange)
        return exchange

    def _go_on_plain(self, exchange: Exchange, rest: bytes) -> None:
        """Go on with a request that the parser did not see; ``rest`` follows its head."""
        if exchange.refusal is not None:
            self._is_discarding, self._unread = True, b""
            return
        self._unread = rest + self._unread
        self._incoming = exchange
        if missing := exchange.missing_bytes:
            self._direct_bytes = missing
        else:
            self._request_complete(exchange)

    def _take_direct(self, piece: bytes) -> None:
        self._direct_bytes -= len(piece)
        if self._incoming is None:
            return
        if not self._receive(self._incoming, piece):
            self._end_incoming()
            self._is_discarding, self._direct_bytes, self._unread = True, 0, b""
        elif not self._direct_bytes:
            self._request_complete(self._incoming)

    def _receive(self, incoming: Exchange, piece: bytes) -> bool:
        if incoming.stream is None:
            self._owner.held_bytes += len(piece)
        is_wanted = incoming.receive(piece)
        if is_wanted and incoming.stream is None and self._owner.held_bytes > self._limits.held_limit_bytes:
            incoming.refuse(BUSY)
            return False
        return is_wanted

    def _end_incoming(self) -> Exchange | None:
        incoming, self._incoming = self._incoming, None
        if incoming is not None and incoming.stream is None:
            self._owner.held_bytes -= incoming.body_bytes
        return incoming

    def _request_complete(self, exchange: Exchange) -> None:
        self._end_incoming()
        exchange.complete()
        if not exchange.is_kept_alive:
            self._is_discarding = True

    def _reject(self, status: int, reason: str) -> None:
        """Queue an answer to bytes that are no sound request, and read no more."""
        refusal = HttpRefusal(status, (("content-type", "text/plain"),), f"{reason}\n".encode())
        incoming = self._end_incoming()
        self._is_discarding, self._head_started, self._direct_bytes, self._unread = True, False, 0, b""
        if incoming is not None and incoming.is_dispatched:
            incoming.abandon(IncompleteBody(reason))
        elif incoming is not None:
            incoming.refuse(refusal)
        else:
            head = RequestHead("", "", "", "", (), self._peer)
            exchange = Exchange(self, head, NO_BODY, is_kept_alive=False, is_http_1_0=False)
            exchange.refuse(refusal)
            self._queue.append(exchange)

    # -- httptools' callbacks

    def on_message_begin(self) -> None:
        """Begin a head."""
        self._head_started = True
        self._target = b""
        self._fields = []
        self._framing_bytes = min(self._framing_bytes, SLICE_BYTES)

    def on_url(self, url: bytes) -> None:
        """Collect the request target, which may come in pieces."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header, or a trailer once the head is complete."""
        self._fields.append((name, value))

    def _read_fields(self) -> list[tuple[str, str]]:
        """Return the headers or trailers that were collected, and begin anew."""
        fields, self._fields = self._fields, []
        if len(fields) > self._limits.header_limit:
            self._fail(Malformed(431, "request has too many headers"))
        names = self._names
        # No blanks at a value's end: the parser leaves them.
        return [(names.lower(name), value.decode("latin-1").rstrip(" \t")) for name, value in fields]

    def on_headers_complete(self) -> None:
        """Decide on the request by its head: sound, refused, or read on."""
        try:
            exchange = self._parse_head()
        except Malformed as failure:
            self._fail(failure)
        self._head_started = False
        self._framing_bytes = 0
        self._queue.append(exchange)
        self._incoming = exchange
        self._plan(exchange)
        if exchange.refusal is not None:
            self._stop_parsing()

    def _plan(self, exchange: Exchange) -> None:
        try:
            exchange.accept(self._owner.application.plan_body(exchange.head))
        except HttpRefusal as refusal:
            exchange.refuse(refusal)
        except Exception:  # the edge of one unit of work: the application's defect is this request's 500
            log.exception("plan_failed", method=exchange.head.method)
            exchange.refuse(HttpRefusal(500, (("content-type", "text/plain"),), b"internal error\n"))

    def _parse_head(self) -> Exchange:
        parser, headers = self._parser, tuple(self._read_fields())
        by_name = dict(headers)
        method, version = parser.get_method().decode("ascii"), parser.get_http_version()
        framing = decide_framing(method, version, headers, by_name)
        if framing.is_chunked and parser.should_upgrade():
            raise Malformed(400, "Upgrade is not spoken here")  # the parser would take the chunks for a next request
        target = self._target.decode("ascii")
        path, query = parse_target(target, by_name)
        head = RequestHead(method, target, path, query, headers, self._peer)
        limit = self._limits.head_limit_bytes
        if self._framing_bytes > limit and head_bytes(head) > limit:
            raise Malformed(431, "request head is too large")
        is_kept_alive = parser.should_keep_alive() and not self._owner.is_draining
        return Exchange(self, head, framing, is_kept_alive=is_kept_alive, is_http_1_0=version == "1.0")

    def on_chunk_header(self) -> None:
        """Count the bytes of each chunk's framing, and of the trailers, by themselves."""
        self._framing_bytes = 0

    def on_body(self, piece: bytes) -> None:
        """Take a piece of the body."""
        self._framing_bytes = 0
        if self._incoming is not None and not self._receive(self._incoming, piece):
            self._stop_parsing()

    def on_message_complete(self) -> None:
        """Hand the request on."""
        self._framing_bytes = 0
        incoming = self._incoming
        if self._fields and incoming is not None:
            incoming.trailers = self._read_fields()
        if incoming is not None and not incoming.missing_bytes:  # at an Upgrade the parser does not wait for the body
            self._request_complete(incoming)

    def _stop_parsing(self) -> NoReturn:
        self._end_incoming()
        self._is_discarding = True
        raise Malformed(413, "no more is read")  # ends the parser's run; all that it parsed so far stands

    def _fail(self, failure: Malformed) -> NoReturn:
        self._failure = failure
        raise failure

    # -- flow and time

    def _allow_body(self, exchange: Exchange) -> None:
        if exchange.expects_continue and not exchange.is_complete and not exchange.body_bytes:
            exchange.expects_continue = False
            self.write(CONTINUE)

    def _set_reading(self) -> None:
        wants_pause = bool(self._unread) and not self._is_discarding
        if wants_pause == self._is_read_paused:
            return
        transport = self._transport
        if transport is not None and not transport.is_closing():
            self._is_read_paused = wants_pause
            if wants_pause:
                transport.pause_reading()
            else:
                transport.resume_reading()

    def _decide_waiting(self) -> Waiting:
        if self._is_write_paused:
            return Waiting.READER
        if self._is_half_closed:
            return Waiting.END
        if self._is_read_paused:
            return Waiting.ANSWER
        if self._incoming is not None:
            return Waiting.BODY
        if self._head_started:
            return Waiting.HEAD
        if self._queue:
            return Waiting.ANSWER
        return Waiting.LINGER if self._is_discarding else Waiting.REQUEST

    def _set_deadline(self) -> None:
        waiting = self._decide_waiting()
        if waiting is not self._waiting:
            self._waiting, self._waiting_since_s = waiting, self._sweep.now_mono_s
        elif waiting is not Waiting.BODY:
            return  # a deadline stands: a peer does not move it by sending a little
        if waiting is Waiting.ANSWER:
            self.deadline_mono_s = inf
            return
        body_bytes = 0 if self._incoming is None else self._incoming.body_bytes
        unsent_bytes = 0
        if waiting is not Waiting.REQUEST and self._transport is not None:
            unsent_bytes = self._transport.get_write_buffer_size()
        patience_s = decide_patience_s(waiting, self._limits, body_bytes=body_bytes, unsent_bytes=unsent_bytes)
        self.deadline_mono_s = self._waiting_since_s + self._sweep.interval_s + patience_s

    def _close_after(self, exchange: Exchange) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        may_be_sending = exchange.is_abandoned or self._unread
        self._is_discarding, self._unread = True, b""
        self._end_incoming()
        if not may_be_sending or self._is_half_closed:
            transport.close()
        else:
            # Closing with bytes unread would reset the connection, and the peer might lose the answer: end our
            # side, and read on for a while.
            transport.write_eof()
            self._set_reading()
        self._set_deadline()

    def _discard(self, size: int) -> None:
        self._lingered_bytes += size
        if self._lingered_bytes > self._limits.linger_limit_bytes:
            self.break_off()

    def _wake_writers(self) -> None:
        waiters, self._drained = self._drained, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

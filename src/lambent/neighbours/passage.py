"""Requests of others to other services, passed on as they are: streamed both ways, one connection each."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import httptools

from lambent.model.errors import NeighbourRefusal
from lambent.neighbours.catalogue import At, Catalogue, NeighbourOff

CONNECT_TIMEOUT_S: Final = 5
ANSWER_TIMEOUT_S: Final = 120  # without a byte; a long poll of SQS takes 20 s
PIECE_BYTES: Final = 64 * 1024
# RFC 9110, 7.6.1: of one connection only; and what this connection says anew.
_HOP_BY_HOP: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "expect"}
)
_ACCOUNT: Final = "x-moto-account-id"  # how moto tells accounts; nobody else may say it

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A request to pass on; ``body`` yields it piece by piece."""

    service: str
    account_id: str
    method: str
    target: str
    headers: Headers
    body: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer's head, and its body as it comes."""

    status: int
    headers: Headers
    chunks: AsyncIterator[bytes]


class Passage:
    """Passes requests on to services at URLs. AWS itself is not among them: it would refuse signatures made for us."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def leads_to(self, service: str) -> bool:
        """Return whether requests to ``service`` are passed on."""
        try:
            return isinstance(self._catalogue.get_neighbour(service), At)
        except NeighbourOff:
            return False

    @asynccontextmanager
    async def open(self, passed: Passed) -> AsyncIterator[Answered]:
        """Yield the answer once its head is there. NeighbourRefusal where the service does not answer."""
        await self._catalogue.prepared(passed.service)
        neighbour = self._catalogue.get_neighbour(passed.service)
        if not isinstance(neighbour, At):
            raise NeighbourRefusal("ServiceUnavailable", f"requests to {passed.service} are not passed on to AWS")
        writer: asyncio.StreamWriter | None = None
        sending: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                reader, writer = await _connect(neighbour.url)
            sending = asyncio.get_running_loop().create_task(_send(writer, passed), name="request passed on")
            answer = _Answer(reader, passed.method)
            await answer.read_head()
            yield Answered(answer.status, answer.headers, answer.chunks())
        except (OSError, TimeoutError, httptools.HttpParserError) as error:
            raise NeighbourRefusal("ServiceUnavailable", f"{passed.service} does not answer: {error}") from error
        finally:
            if sending is not None:
                sending.cancel()  # whoever answers early does not want the rest
                await asyncio.gather(sending, return_exceptions=True)
            if writer is not None:
                writer.close()


async def _connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    context = ssl.create_default_context() if parts.scheme == "https" else None
    port = parts.port or (443 if context else 80)
    return await asyncio.open_connection(parts.hostname, port, ssl=context, limit=PIECE_BYTES)


async def _send(writer: asyncio.StreamWriter, passed: Passed) -> None:
    kept = [(name, value) for name, value in passed.headers if name not in _HOP_BY_HOP and name != _ACCOUNT]
    has_length = any(name == "content-length" for name, _ in kept)
    is_chunked = not has_length and passed.method not in ("GET", "HEAD", "DELETE")
    kept += [("connection", "close"), (_ACCOUNT, passed.account_id)]
    if is_chunked:
        kept.append(("transfer-encoding", "chunked"))
    lines = [f"{passed.method} {passed.target} HTTP/1.1", *(f"{name}: {value}" for name, value in kept)]
    writer.write("\r\n".join([*lines, "\r\n"]).encode("latin-1"))
    try:
        async for piece in passed.body:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
            await writer.drain()
        if is_chunked:
            writer.write(b"0\r\n\r\n")
        await writer.drain()
    except Exception:
        writer.close()  # half a request must not look whole, and who waits for its answer must hear of it
        raise


class _Answer:
    """Reads one answer; the parser's callbacks fill it."""

    def __init__(self, reader: asyncio.StreamReader, method: str) -> None:
        self._reader, self._has_no_body = reader, method == "HEAD"
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._is_head_complete = self._is_complete = False
        self.status = 0
        self.headers: list[tuple[str, str]] = []

    async def read_head(self) -> None:
        """Return once status and headers are there."""
        while not self._is_head_complete:
            await self._feed()
        self.status = self._parser.get_status_code()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body."""
        while True:
            pieces, self._pieces = self._pieces, []
            for piece in pieces:
                yield piece
            if self._is_complete:
                return
            await self._feed()

    async def _feed(self) -> None:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            received = await self._reader.read(PIECE_BYTES)
        if received:
            self._parser.feed_data(received)
        elif self._is_head_complete and not self._has_length:
            self._is_complete = True  # the connection's end is the body's
        else:
            raise ConnectionResetError("the connection broke in the middle of an answer")

    @property
    def _has_length(self) -> bool:
        return any(name in ("content-length", "transfer-encoding") for name, _ in self.headers)

    # --- of httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """Note that the head is whole."""
        self._is_head_complete = True
        self._is_complete = self._has_no_body or self._parser.get_status_code() in (204, 304)

    def on_body(self, piece: bytes) -> None:
        """Take a piece of the body."""
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """Note that the body is whole."""
        self._is_complete = True

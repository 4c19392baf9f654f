"""Plain requests, as nearly all are: one look at their bytes instead of a parser's run with a call per header.

What is the least unusual is left to the parser, which knows HTTP's corners; what is taken here means the same to both.
"""

from typing import Final, NamedTuple

from lambent.http.application import RequestHead
from lambent.http.framing import NO_BODY, Framing

NAMES_KEPT: Final = 256
HEAD_LIMIT_BYTES: Final = 8 * 1024
BLOCKS_KEPT: Final = 8
LENGTH_DIGITS: Final = 9
METHODS: Final = frozenset({"GET", "POST", "PUT", "DELETE"})
# They say how the request or the connection is framed: the parser's business. ``connection`` has one harmless value.
FRAMING_NAMES: Final = frozenset(
    {"transfer-encoding", "expect", "upgrade", "trailer", "te", "keep-alive", "proxy-connection"}
)
KEEP_ALIVE: Final = "keep-alive"

_PRINTABLE: Final = bytes(range(0x20, 0x7F))


class PlainRequest(NamedTuple):
    """A head of a kept connection, and what follows it."""

    head: RequestHead
    framing: Framing
    body_at: int  # where in the bytes the body begins
    end: int  # where it ends


class _Block(NamedTuple):
    """The headers of a request, read."""

    headers: tuple[tuple[str, str], ...]
    by_name: dict[str, str]
    framing: Framing
    body_bytes: int


class HeaderNames:
    """How header names were written so far, which the parser found sound; shared by a server's connections."""

    __slots__ = ("_plain", "_seen")

    def __init__(self) -> None:
        self._seen: dict[bytes, str] = {}
        self._plain: dict[str, str] = {}

    def lower(self, name: bytes) -> str:
        """Return ``name``, of a header that the parser took, in lower case."""
        return self._seen.get(name) or self._learn(name)

    def find(self, name: str) -> str | None:
        """Return ``name`` in lower case; None if nobody wrote it so yet, or it is not for plain requests."""
        return self._plain.get(name)

    def _learn(self, name: bytes) -> str:
        text = name.decode("ascii")
        lower = text.lower()
        if len(self._seen) < NAMES_KEPT:
            self._seen[name] = lower
            if lower not in FRAMING_NAMES:
                self._plain[text] = lower
        return lower


class PlainReader:
    """Reads the heads of one connection. A poller's headers, which come again byte for byte, are read once."""

    __slots__ = ("_blocks", "_header_limit", "_names")

    def __init__(self, names: HeaderNames, header_limit: int) -> None:
        self._names, self._header_limit = names, header_limit
        self._blocks: dict[bytes, _Block] = {}

    def find(self, data: bytes, peer: str) -> PlainRequest | None:
        """Return the request that ``data`` begins with if it is a plain one; None leaves it to the parser."""
        end = data.find(b"\r\n\r\n", 0, HEAD_LIMIT_BYTES)
        if end < 0:
            return None
        line_end = data.find(b"\r\n")
        method, _, rest = data[:line_end].decode("latin-1").partition(" ")
        target, _, version = rest.partition(" ")
        # RFC 9112 §3.2: the origin form. The parser takes a fragment for an error, and knows the other forms.
        if version != "HTTP/1.1" or method not in METHODS or target[:1] != "/" or "#" in target:
            return None
        if not (target.isascii() and target.isprintable()):
            return None
        raw = data[line_end:end]
        block = self._blocks.get(raw) or self._read_block(raw)
        if block is None:
            return None
        path, _, query = target.partition("?")
        head = RequestHead(method, target, path, query, block.headers, peer, block.by_name)
        return PlainRequest(head, block.framing, end + 4, end + 4 + block.body_bytes)

    def _read_block(self, raw: bytes) -> _Block | None:
        lines = raw.decode("latin-1").split("\r\n")
        # Nothing but ASCII that can be seen, and line ends only where lines were cut.
        if raw.translate(None, _PRINTABLE) != b"\r\n" * (len(lines) - 1) or len(lines) > self._header_limit + 1:
            return None
        names, headers = self._names, []
        for line in lines[1:]:
            wire_name, _, value = line.partition(": ")
            name = names.find(wire_name)
            if name is None or not value or value[0] == " " or value[-1] == " ":
                return None
            headers.append((name, value))
        by_name = dict(headers)
        length = by_name.get("content-length")
        if len(by_name) != len(headers) or "host" not in by_name:
            return None
        if length is not None and not (length.isdigit() and len(length) <= LENGTH_DIGITS):
            return None
        if by_name.get("connection", KEEP_ALIVE) != KEEP_ALIVE:
            return None
        framing = NO_BODY if length is None else Framing(int(length), False, False)
        block = _Block(tuple(headers), by_name, framing, framing.content_length or 0)
        if len(self._blocks) >= BLOCKS_KEPT:
            self._blocks.clear()
        self._blocks[raw] = block
        return block

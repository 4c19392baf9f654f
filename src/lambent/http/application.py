"""What an HTTP application is to the server: values in, a ``Reply`` to answer on."""

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Protocol

Headers = Sequence[tuple[str, str]]


@dataclass(slots=True)
class RequestHead:
    """A request line and its headers. Header names are lower case, in order, repeated ones kept. Not to be changed."""

    method: str
    target: str  # as sent: raw path and query
    path: str  # as sent, still percent-encoded, without the query
    query: str  # as sent, without "?"
    headers: tuple[tuple[str, str], ...]
    peer: str = ""
    _first: dict[str, str] | None = field(default=None, repr=False, compare=False)  # the first header of each name

    def header(self, name: str) -> str | None:
        """Return the first header called ``name`` (lower case), or None."""
        if self._first is None:
            self._first = dict(reversed(self.headers))
        return self._first.get(name)

    @property
    def has_repeated_headers(self) -> bool:
        """Whether a header is there more than once."""
        return len(self._first if self._first is not None else dict(self.headers)) != len(self.headers)


@dataclass(frozen=True, slots=True)
class BodyPlan:
    """What to do with a body: at most ``limit_bytes``, given whole or (``is_streamed``) as it arrives.

    ``too_large`` is the answer to a body that turns out longer; a plain 413 without it. A streamed body's reader
    gets BodyTooLarge instead.
    """

    limit_bytes: int
    is_streamed: bool = False
    too_large: "HttpRefusal | None" = None


@dataclass(slots=True)
class Request:
    """A request whose body is whole (``body``) or arriving (``stream``, then ``trailers`` once it ended)."""

    head: RequestHead
    body: bytes = b""
    stream: AsyncIterator[bytes] | None = None
    trailers: tuple[tuple[str, str], ...] = field(default=())


class HttpRefusal(Exception):
    """Raised by ``plan_body``: answer this at once, read no body, close the connection."""

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        super().__init__(status)
        self.status, self.headers, self.body = status, headers, body


class IncompleteBody(Exception):
    """Raised to the reader of a streamed body: the peer hung up, or broke the framing, before the body's end."""


class BodyTooLarge(IncompleteBody):
    """Raised to the reader of a streamed body: it is longer than the plan allows."""


class Reply(Protocol):
    """The one answer to a request. Usable from any task of the loop; a second answer raises RuntimeError."""

    @property
    def is_gone(self) -> bool:
        """Whether the peer hung up (or ended its side); sending is then harmless and most likely read by nobody."""
        ...

    def on_gone(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once if the peer hangs up before the answer is complete."""
        ...

    def send(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """Send a whole answer in one write; never blocks.

        ``content-length`` and ``connection`` are added. Statuses that have no body, and HEAD, drop ``body``.
        """
        ...

    def start(self, status: int, headers: Headers) -> None:
        """Begin an answer in pieces: of the length that ``headers`` give, else in chunks.

        A peer of HTTP/1.0 gets what has no length until the connection's end.
        """
        ...

    async def write(self, chunk: bytes) -> None:
        """Send a chunk; returns when the peer's buffer has room again."""
        ...

    def finish(self, trailers: Headers = ()) -> None:
        """End an answer in chunks."""
        ...


class Application(Protocol):
    """What a server serves."""

    def plan_body(self, head: RequestHead) -> BodyPlan:
        """Decide on the body when the head is complete, before any byte of the body is kept. May raise HttpRefusal."""
        ...

    def handle(self, request: Request, reply: Reply) -> Coroutine[None, None, None] | None:
        """Answer ``request``: at once, later through ``reply``, or in a coroutine, which the server runs and owns.

        A coroutine that raises makes the server answer 500 and close; it is not cancelled when the peer hangs up.
        """
        ...

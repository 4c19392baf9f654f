"""What the front door needs of others, as Protocols of the consumer; ``assembly`` passes in the real things."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lambent.http.application import RequestHead
from lambent.model.ids import Scope
from lambent.model.invocations import InvocationResult, InvokeCall
from lambent.model.requests import Caller, Commands
from lambent.wire.service import ServiceCodec


class Identity(Protocol):
    """Who signed a request, and for which region and service."""

    @property
    def caller(self) -> Caller:
        """The authenticated (or, in mode ``off``, believed) caller."""
        ...

    @property
    def region(self) -> str:
        """The region of the credential scope."""
        ...

    @property
    def service(self) -> str:
        """The service of the credential scope."""
        ...


# The reason to refuse a request by its Origin and Host, or None.
DecideOrigin = Callable[[RequestHead], str | None]
# Takes an event into the durable queue; on return it is safe there.
AcceptEvent = Callable[[InvokeCall], Awaitable[None]]


# A command of our own for whoever runs this: (whose, what the query says) → JSON.
OwnCommand = Callable[[Scope, dict[str, str]], Awaitable[dict[str, Any]]]


class Verify(Protocol):
    """Tells who sent a request."""

    def __call__(self, head: RequestHead, body: bytes, *, service: str | None = None) -> Identity:
        """Return the identity, or raise a CallerError. ``service`` is the one the request was routed to.

        Called in threads too: a body over 64 KiB is hashed outside of the loop.
        """
        ...


class Invoker(Protocol):
    """The road of an invocation."""

    async def invoke(self, call: InvokeCall) -> InvocationResult:
        """Run ``call`` to its end. CallerError or HostError if it could not be run."""
        ...


@dataclass(frozen=True, slots=True)
class CodeDownload:
    """A deployment package on its way out."""

    zip_bytes: int
    chunks: AsyncIterator[bytes]


# The package that a token of ``Code.Location`` (path segment, and query as sent) gives right to now, or None.
OpenCode = Callable[[str, str], Awaitable[CodeDownload | None]]


@dataclass(frozen=True, slots=True)
class Service:
    """One service behind the door: its codecs, and the commands that are built."""

    codec: ServiceCodec
    commands: Commands


Services = Mapping[str, Service]  # by the name in a credential scope: "lambda", "logs"

"""An accepted event as it lies in the store, and the names of its queues."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import msgspec

from lambent.model.errors import HostError
from lambent.model.functions import LATEST
from lambent.model.ids import RequestId, Scope
from lambent.model.invocations import InvokeCall, Target

EVENT_QUEUES: Final = "async/"  # prefixes of the store's queues, one queue a function below each
DELIVERY_QUEUES: Final = "delivery/"
# What is kept of a failed try for the record of an event that gets no other; a larger one is left out of it.
KEPT_RESPONSE_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What the function answered to one try."""

    payload: bytes = field(repr=False)
    executed_version: str
    function_error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedEvent:
    """An event that got its 202. ``failed_tries`` ended in a function error; the others never reached the function.

    ``last`` is the answer to the last try that the function had.
    """

    request_id: RequestId
    scope: Scope
    name: str
    qualifier: str | None
    payload: bytes = field(repr=False)
    accepted_at: datetime
    trace_header: str | None = None
    tenant_id: str | None = None
    failed_tries: int = 0
    throttled_tries: int = 0
    last: Response | None = None

    @property
    def call(self) -> InvokeCall:
        """One try of it. Its caller was authorised when the event was accepted."""
        return InvokeCall(
            request_id=self.request_id,
            target=Target(self.scope, self.name, self.qualifier),
            payload=self.payload,
            trace_header=self.trace_header,
            tenant_id=self.tenant_id,
            is_event=True,
        )

    @property
    def config_qualifier(self) -> str:
        """The qualifier whose event invoke configuration counts."""
        return self.qualifier or LATEST


def queue_of(prefix: str, scope: Scope, name: str) -> str:
    """Return the queue of a function below ``prefix``."""
    return f"{prefix}{scope.account_id}/{scope.region}/{name}"


def render_event(event: QueuedEvent) -> bytes:
    """Return ``event`` as a queue's body."""
    return msgspec.msgpack.encode(event)


def parse_event(body: bytes) -> QueuedEvent:
    """Return what ``render_event`` wrote. HostError if it is damaged."""
    try:
        return msgspec.msgpack.decode(body, type=QueuedEvent)
    except msgspec.MsgspecError as error:
        raise HostError(f"damaged event: {error}") from error

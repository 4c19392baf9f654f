"""Something owed to a destination or a dead-letter target, as it lies in the store."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import msgspec

from lambent.model.errors import HostError
from lambent.model.ids import RequestId, Scope


class Kind(StrEnum):
    """Why it is owed."""

    ON_SUCCESS = "OnSuccess"
    ON_FAILURE = "OnFailure"
    DEAD_LETTER = "DeadLetter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """A message attribute of SQS or SNS."""

    name: str
    kind: str  # String, Number
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """What goes where. The ``key`` of an object is chosen once, so that a repetition overwrites its own."""

    kind: Kind
    arn: str
    scope: Scope  # of the function
    name: str
    qualifier: str | None
    request_id: RequestId
    trace_header: str | None = None
    created_at: datetime
    key: str = ""
    attributes: tuple[Attribute, ...] = ()
    body: bytes = field(repr=False)
    tries: int = 0


def render_dispatch(dispatch: Dispatch) -> bytes:
    """Return ``dispatch`` as a queue's body."""
    return msgspec.msgpack.encode(dispatch)


def parse_dispatch(body: bytes) -> Dispatch:
    """Return what ``render_dispatch`` wrote. HostError if it is damaged."""
    try:
        return msgspec.msgpack.decode(body, type=Dispatch)
    except msgspec.MsgspecError as error:
        raise HostError(f"damaged dispatch: {error}") from error

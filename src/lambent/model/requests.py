"""Who asks, and the shape of a command that answers one operation of an API."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lambent.model.ids import RequestId, Scope

Members = dict[str, Any]  # members of an operation's input or output by AWS's names, as ``wire`` parsed or will render


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated (or, in mode ``off``, believed) caller."""

    account_id: str
    arn: str
    access_key: str = ""


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What every command knows about its request besides the members."""

    scope: Scope
    request_id: RequestId
    caller: Caller
    endpoint: str = ""  # scheme://host[:port] as the caller reached us; for URLs we hand out


Command = Callable[[RequestContext, Members], Awaitable[Members]]
Commands = Mapping[str, Command]  # by operation name, e.g. "CreateFunction"

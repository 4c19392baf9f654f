"""The seam between the codecs and the AWS protocols: one implementation each for rest-json, json 1.x, …"""

from collections.abc import Callable
from typing import Protocol

from lambent.model.errors import CallerError
from lambent.model.requests import Members
from lambent.wire.message import WireRequest, WireResponse
from lambent.wire.overrides import Overrides
from lambent.wire.routing import Labels, Router
from lambent.wire.service_model import ServiceModel

RequestReader = Callable[[WireRequest, Labels], Members]
ResponseWriter = Callable[[Members, str], WireResponse]  # the members, and the request's id


class WireProtocol(Protocol):
    """One AWS protocol, bound to one service's model. Compiles operations; holds no request."""

    def __init__(self, model: ServiceModel, overrides: Overrides) -> None: ...

    def router(self) -> Router:
        """Return what finds a request's operation."""
        ...

    def request_reader(self, operation: str) -> RequestReader:
        """Return the reader of the operation's requests: types are checked, constraints are not."""
        ...

    def response_writer(self, operation: str) -> ResponseWriter:
        """Return the writer of the operation's answers."""
        ...

    def unknown_operation(self, request: WireRequest) -> CallerError | None:
        """Return what to tell who names no operation of the service; None where a path names them and leads nowhere."""
        ...

    def render_error(self, error: CallerError, request_id: str) -> WireResponse:
        """Return the answer that carries ``error``."""
        ...

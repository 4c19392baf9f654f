"""The codecs of one service: routing, then reading and writing per operation, compiled when first needed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from lambent.model.errors import CallerError
from lambent.model.requests import Members
from lambent.wire.constraints import Constraints, join_errors
from lambent.wire.json_rpc import JsonRpc
from lambent.wire.message import WireRequest, WireResponse
from lambent.wire.overrides import Overrides, find_overrides
from lambent.wire.protocol import WireProtocol
from lambent.wire.query import Query
from lambent.wire.rest_json import RestJson
from lambent.wire.routing import Labels
from lambent.wire.service_model import ServiceModel

# A further protocol (rest-xml, smithy-rpc-v2-cbor) is a module beside these and a line here.
_PROTOCOLS: Final[Mapping[str, type[WireProtocol]]] = {"rest-json": RestJson, "json": JsonRpc, "query": Query}


class OperationCodec:
    """Reads the requests of one operation and writes its answers. Immutable; safe to share."""

    def __init__(self, name: str, model: ServiceModel, protocol: WireProtocol, *, overrides: Overrides) -> None:
        self.name = name
        self._protocol, self._overrides = protocol, overrides
        self._read = protocol.request_reader(name)
        self._write = protocol.response_writer(name)
        self._check = Constraints(model, overrides).input_check(name)

    def parse(self, request: WireRequest, labels: Labels) -> Members:
        """Return the request's members by AWS's names; an absent or null one is left out.

        blob → bytes, timestamp → aware UTC datetime, the rest as JSON has it. Raises ValidationError with all broken
        constraints in one message, UnreadableValue for a wrong JSON type, InvalidRequestContent for what is no JSON.
        """
        members = self._read(request, labels)
        if self._check is not None:
            errors: list[str] = []
            self._check(members, "", errors)
            if errors:
                raise self._overrides.validation_error(join_errors(errors))
        return members

    def render(self, result: Members, request_id: str = "") -> WireResponse:
        """Return the answer for ``result``. A member that the model does not know is our defect: TypeError.

        Some protocols tell the request's id in the body.
        """
        return self._write(result, request_id)

    def render_error(self, error: Exception, request_id: str = "") -> WireResponse:
        """Return the answer for ``error``; what is no CallerError becomes the service's internal error."""
        return _render_error(self._protocol, self._overrides, error, request_id)


@dataclass(frozen=True, slots=True)
class OperationRoute:
    """The operation that a request names, and the labels of its path (percent-decoded)."""

    codec: OperationCodec
    labels: Labels


class ServiceCodec:
    """All operations of one service, from a service model (data): a member added to the model needs no code."""

    def __init__(self, service: str, model: Mapping[str, Any]) -> None:
        self.service = service
        self._model = ServiceModel(service, model)
        self._overrides = find_overrides(service)
        known = next((name for name in self._model.protocols if name in _PROTOCOLS), None)
        if known is None:
            raise LookupError(f"{service} speaks none of {', '.join(_PROTOCOLS)}")
        self._protocol = _PROTOCOLS[known](self._model, self._overrides)
        self._router = self._protocol.router()
        self._operations: dict[str, OperationCodec] = {}

    @classmethod
    def load(cls, service: str) -> Self:
        """Return the codecs of ``service`` ("lambda", "logs") as the installed botocore describes it. Reads a file."""
        model = ServiceModel.load(service)
        return cls(service, model.raw)

    @property
    def signing_name(self) -> str:
        """The service's name in a credential scope."""
        return self._model.signing_name

    @property
    def operation_names(self) -> tuple[str, ...]:
        """The names of all operations of the model."""
        return tuple(self._model.operations)

    def route(self, request: WireRequest) -> OperationRoute | None:
        """Return the operation that ``request`` names, or None."""
        found = self._router.find(request)
        return None if found is None else OperationRoute(self.operation(found[0]), found[1])

    def unknown_operation(self, request: WireRequest) -> CallerError | None:
        """Return what to tell who names no operation; None: as for any path that leads nowhere."""
        return self._protocol.unknown_operation(request)

    def operation(self, name: str) -> OperationCodec:
        """Return the codec of the operation called ``name``; KeyError if the model has none."""
        if (codec := self._operations.get(name)) is None:
            if name not in self._model.operations:
                raise KeyError(name)
            codec = OperationCodec(name, self._model, self._protocol, overrides=self._overrides)
            self._operations[name] = codec
        return codec

    def render_error(self, error: Exception, request_id: str = "") -> WireResponse:
        """Return the answer for an error met before the operation was known (a bad signature, say)."""
        return _render_error(self._protocol, self._overrides, error, request_id)


def _render_error(protocol: WireProtocol, overrides: Overrides, error: Exception, request_id: str) -> WireResponse:
    if not isinstance(error, CallerError):
        error = overrides.internal_error("An error occurred and the request cannot be processed.")
    return protocol.render_error(error, request_id)

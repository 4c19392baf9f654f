"""The protocol query (STS, IAM, SNS, CloudFormation, …): a form with an Action comes in, XML goes out."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Final, NamedTuple

from lambent.model.errors import CallerError
from lambent.model.requests import Members
from lambent.wire.message import WireRequest, WireResponse
from lambent.wire.overrides import Overrides
from lambent.wire.protocol import RequestReader, ResponseWriter
from lambent.wire.query_values import MalformedQueryString, QueryReaders, grow_tree, parse_parameters
from lambent.wire.routing import Labels
from lambent.wire.service_model import ServiceModel
from lambent.wire.xml_values import XmlWriters, element, escape

_CONTENT_TYPE = ("content-type", "text/xml")


class InvalidAction(CallerError):
    """The Action names no operation of the service."""

    code: ClassVar[str] = "InvalidAction"

    def __init__(self, action: str, version: str) -> None:
        # Seen from AWS (STS, IAM).
        super().__init__(f"Could not find operation {action} for version {version}", kind=None)


class MissingAction(CallerError):
    """The request names no Action."""

    # API reference of STS, "Common errors".
    code: ClassVar[str] = "MissingAction"

    def __init__(self) -> None:
        super().__init__("The request is missing an action or a required parameter.", kind=None)


class QueryError(NamedTuple):
    """How the query services call an error that the others call something else."""

    code: str
    status: int
    message: str | None = None


# API reference of STS, "Common errors", and seen from AWS; the first text is STS's own.
_RENAMED: Final[Mapping[str, QueryError]] = MappingProxyType(
    {
        "MissingAuthenticationTokenException": QueryError(
            "MissingAuthenticationToken", 403, "Request is missing Authentication Token"
        ),
        "UnrecognizedClientException": QueryError("InvalidClientTokenId", 403),
        "InvalidSignatureException": QueryError("SignatureDoesNotMatch", 403),
        "IncompleteSignatureException": QueryError("IncompleteSignature", 400),
        "ExpiredTokenException": QueryError("ExpiredToken", 403),
        "AccessDeniedException": QueryError("AccessDenied", 403),
        "InvalidParameterValueException": QueryError("InvalidParameterValue", 400),
        "ValidationException": QueryError("ValidationError", 400),
        "SerializationException": QueryError("MalformedInput", 400),
    }
)


class Query:
    """See ``WireProtocol``."""

    def __init__(self, model: ServiceModel, overrides: Overrides) -> None:
        self._model = model
        self._readers, self._writers = QueryReaders(model), XmlWriters(model)

    def router(self) -> "ActionRouter":
        """Return the router by Action."""
        return ActionRouter(self._model)

    def unknown_operation(self, request: WireRequest) -> CallerError:
        """Return what to tell who names no operation of the service."""
        parameters = _parameters(request)
        if (action := parameters.get("Action")) is None:
            return MissingAction()
        return InvalidAction(action, parameters.get("Version", self._model.metadata["apiVersion"]))

    def request_reader(self, operation: str) -> RequestReader:
        """Return the reader of the operation's requests."""
        side = self._model.input_shape(operation)
        if side is None:
            return lambda request, labels: {}
        read_members = self._readers.members(side[1])

        def read(request: WireRequest, labels: Labels) -> Members:
            members: Members = read_members(grow_tree(_parameters(request)))
            return members

        return read

    def response_writer(self, operation: str) -> ResponseWriter:
        """Return the writer of the operation's answers."""
        opening = f'<{operation}Response xmlns="{self._model.metadata["xmlNamespace"]}">'
        side = self._model.output_shape(operation)
        write_members = None if side is None else self._writers.members(*side)
        wrapper = self._model.operations[operation].get("output", {}).get("resultWrapper")

        def write(result: Members, request_id: str) -> WireResponse:
            content = "" if write_members is None else write_members(result)
            if wrapper is not None:
                content = element(wrapper, content)
            metadata = element("ResponseMetadata", element("RequestId", request_id))
            body = f"{opening}{content}{metadata}</{operation}Response>"
            return WireResponse(200, (_CONTENT_TYPE,), body.encode())

        return write

    def render_error(self, error: CallerError, request_id: str) -> WireResponse:
        """Return ``<ErrorResponse>`` with type, code and message, under the names of the query services."""
        told = _RENAMED.get(error.code) or self._modelled(error)
        parts = {
            "Type": "Sender" if told.status < 500 else "Receiver",
            "Code": told.code,
            "Message": told.message or error.message,
        }
        content = element("Error", "".join(element(name, escape(text)) for name, text in parts.items()))
        opening = f'<ErrorResponse xmlns="{self._model.metadata["xmlNamespace"]}">'
        body = f"{opening}{content}{element('RequestId', request_id)}</ErrorResponse>"
        return WireResponse(told.status, (_CONTENT_TYPE,), body.encode())

    def _modelled(self, error: CallerError) -> QueryError:
        shape = self._model.find_shape(error.code) or {}
        stated = shape.get("error", {})
        return QueryError(stated.get("code", error.code), stated.get("httpStatusCode", error.status))


class ActionRouter:
    """Routes by the parameter ``Action``, in the form or in the query string."""

    def __init__(self, model: ServiceModel) -> None:
        self._operations = frozenset(model.operations)

    def find(self, request: WireRequest) -> tuple[str, Labels] | None:
        """See ``Router``."""
        try:
            action = _parameters(request).get("Action")
        except MalformedQueryString:
            return None  # who asks what is unknown then is told
        return (action, {}) if action is not None and action in self._operations else None


def _parameters(request: WireRequest) -> dict[str, str]:
    return parse_parameters(request.query) | parse_parameters(request.body.decode(errors="replace"))

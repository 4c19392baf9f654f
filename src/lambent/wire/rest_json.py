"""The protocol rest-json (Lambda, API Gateway, EventBridge Scheduler, …)."""

from typing import Any

from lambent.model.errors import CallerError
from lambent.model.requests import Members
from lambent.wire.bodies import read_json, write_json
from lambent.wire.errors import UnknownOperation
from lambent.wire.json_errors import JsonErrors
from lambent.wire.json_values import JsonReaders, JsonWriters
from lambent.wire.message import WireRequest, WireResponse
from lambent.wire.overrides import Overrides
from lambent.wire.protocol import RequestReader, ResponseWriter
from lambent.wire.rest_binding import RequestBinding, ResponseBinding, body_members
from lambent.wire.routing import Labels, RestRouter
from lambent.wire.service_model import ServiceModel, Shape

_CONTENT_TYPE = ("content-type", "application/json")


class RestJson:
    """See ``WireProtocol``."""

    def __init__(self, model: ServiceModel, overrides: Overrides) -> None:
        self._model, self._overrides = model, overrides
        self._readers, self._writers = JsonReaders(model), JsonWriters(model)
        self._errors = JsonErrors(model, overrides)

    def router(self) -> RestRouter:
        """Return the router by method and path."""
        return RestRouter(self._model)

    def request_reader(self, operation: str) -> RequestReader:
        """Return the reader of the operation's requests."""
        side = self._model.input_shape(operation)
        if side is None:
            return lambda request, labels: {}
        shape = side[1]
        binding = RequestBinding(self._model, shape)
        if (payload := shape.get("payload")) is not None:
            return self._payload_reader(binding, shape, payload)
        names = body_members(shape)
        if not names:
            return binding.read
        read_members = self._readers.members(shape, names)

        def read(request: WireRequest, labels: Labels) -> Members:
            members = binding.read(request, labels)
            members.update(read_members(read_json(request.body)))
            return members

        return read

    def response_writer(self, operation: str) -> ResponseWriter:
        """Return the writer of the operation's answers; what an event stream carries is not written here."""
        success = self._overrides.statuses.get(operation, self._model.operations[operation]["http"]["responseCode"])
        side = self._model.output_shape(operation)
        if side is None:
            return lambda result, request_id: WireResponse(success, (_CONTENT_TYPE,), b"")
        name, shape = side
        binding = ResponseBinding(self._model, shape)
        write_body = self._body_writer(name, shape)

        def write(result: Members, request_id: str) -> WireResponse:
            status, headers, rest = binding.split(result, success)
            return WireResponse(status, (_CONTENT_TYPE, *headers), write_body(rest))

        return write

    def unknown_operation(self, request: WireRequest) -> UnknownOperation | None:
        """Return None: what has no path is nowhere, but for a target that another protocol would have."""
        return None if request.header("x-amz-target") is None else UnknownOperation()

    def render_error(self, error: CallerError, request_id: str) -> WireResponse:
        """Return ``{"Type": …, "message" or "Message": …}``, with the code in the header x-amzn-ErrorType."""
        members, headers = self._errors.members(error)
        # Recorded from AWS: a ValidationException (and a few more) has no Type.
        body = {"Type": error.kind, **members} if error.kind is not None else members
        return WireResponse(error.status, (_CONTENT_TYPE, ("x-amzn-errortype", error.code), *headers), write_json(body))

    def _payload_reader(self, binding: RequestBinding, shape: Shape, payload: str) -> RequestReader:
        ref = shape["members"][payload]
        kind = self._model.shape(ref["shape"])["type"]
        read_value = self._readers.reader(ref)
        # No body is an empty blob where the payload is required, else an absent one.
        is_always_there = kind in ("blob", "string") and payload in shape.get("required", ())

        def read(request: WireRequest, labels: Labels) -> Members:
            members = binding.read(request, labels)
            if request.body or is_always_there:
                members[payload] = _read_payload(kind, request.body, read_value)
            return members

        return read

    def _body_writer(self, name: str, shape: Shape) -> Any:
        payload = shape.get("payload")
        if payload is not None:
            return self._payload_writer(name, shape, payload)
        names = body_members(shape)
        write_members = self._writers.members(shape, names, name)
        # An output whose members are all headers or status (DeleteFunction) has no body.
        return lambda rest: write_json(write_members(rest)) if names else _require_empty(write_members(rest))

    def _payload_writer(self, name: str, shape: Shape, payload: str) -> Any:
        ref = shape["members"][payload]
        target = self._model.shape(ref["shape"])
        if target.get("eventstream"):
            return lambda rest: b""
        write_value = self._writers.writer(ref)

        def write(rest: Members) -> bytes:
            unknown = [each for each in rest if each != payload]
            if unknown:
                raise TypeError(f"{name} has no member {unknown[0]}")
            value = rest.get(payload)
            if value is None:
                return b""
            if target["type"] in ("blob", "string"):
                return value.encode() if isinstance(value, str) else bytes(value)
            return write_json(write_value(value))

        return write


def _read_payload(kind: str, body: bytes, read_value: Any) -> Any:
    if kind == "blob":
        return body
    return body.decode(errors="replace") if kind == "string" else read_value(read_json(body))


def _require_empty(_written: dict[str, Any]) -> bytes:
    return b""

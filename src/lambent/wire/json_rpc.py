"""The protocols json 1.0 and 1.1 (CloudWatch Logs, SQS, DynamoDB, …): POST /, the operation in X-Amz-Target."""

from lambent.model.errors import CallerError, InvalidRequestContent
from lambent.model.requests import Members
from lambent.wire.bodies import read_json, write_json
from lambent.wire.errors import UnknownOperation, UnreadableValue
from lambent.wire.json_errors import JsonErrors
from lambent.wire.json_values import JsonReaders, JsonWriters
from lambent.wire.message import WireRequest, WireResponse
from lambent.wire.overrides import Overrides
from lambent.wire.protocol import RequestReader, ResponseWriter
from lambent.wire.routing import Labels, TargetRouter
from lambent.wire.service_model import ServiceModel


class JsonRpc:
    """See ``WireProtocol``."""

    def __init__(self, model: ServiceModel, overrides: Overrides) -> None:
        self._model = model
        self._readers, self._writers = JsonReaders(model), JsonWriters(model)
        self._errors = JsonErrors(model, overrides)
        self._content_type = ("content-type", f"application/x-amz-json-{model.metadata['jsonVersion']}")

    def router(self) -> TargetRouter:
        """Return the router by X-Amz-Target."""
        return TargetRouter(self._model)

    def request_reader(self, operation: str) -> RequestReader:
        """Return the reader of the operation's requests."""
        side = self._model.input_shape(operation)
        if side is None:
            return lambda request, labels: {}
        read_members = self._readers.members(side[1], tuple(side[1]["members"]))

        def read(request: WireRequest, labels: Labels) -> Members:
            try:
                members: Members = read_members(read_json(request.body))
            except InvalidRequestContent:
                # Assumed: the JSON protocols know no InvalidRequestContentException.
                raise UnreadableValue("Unexpected token received from parser") from None
            return members

        return read

    def response_writer(self, operation: str) -> ResponseWriter:
        """Return the writer of the operation's answers; what an event stream carries is not written here."""
        side = self._model.output_shape(operation)
        if side is None:
            return lambda result, request_id: WireResponse(200, (self._content_type,), b"")
        name, shape = side
        streams = {
            member for member, ref in shape["members"].items() if self._model.shape(ref["shape"]).get("eventstream")
        }
        write_members = self._writers.members(shape, tuple(n for n in shape["members"] if n not in streams), name)

        def write(result: Members, request_id: str) -> WireResponse:
            body = write_json(write_members({key: each for key, each in result.items() if key not in streams}))
            return WireResponse(200, (self._content_type,), body)

        return write

    def unknown_operation(self, request: WireRequest) -> UnknownOperation | None:
        """Return what to tell who names no operation of the service in the target; without one the path is nowhere."""
        return None if request.header("x-amz-target") is None else UnknownOperation()

    def render_error(self, error: CallerError, request_id: str) -> WireResponse:
        """Return ``{"__type": code, "message": …}``, with the code in the header x-amzn-ErrorType too.

        What a caller can mend is a 400 whatever it is, unless the model says otherwise.
        """
        members, headers = self._errors.members(error)
        body = write_json({"__type": error.code, **members})
        return WireResponse(self._status(error), (self._content_type, ("x-amzn-errortype", error.code), *headers), body)

    def _status(self, error: CallerError) -> int:
        # Seen from AWS (CloudWatch Logs, DynamoDB): 400 for a missing resource, an unknown key, a wrong signature.
        shape = self._model.find_shape(error.code) or {}
        stated: int | None = shape.get("error", {}).get("httpStatusCode")
        if stated is not None:
            return stated
        return error.status if error.status >= 500 or error.status == 413 else 400

"""What every answer carries, and how errors become bytes: the one place where a failure turns into AWS's words."""

import re
from email.utils import format_datetime
from typing import Final

import structlog

from lambent.http.application import HttpRefusal, Reply, RequestHead
from lambent.model.clock import Clock
from lambent.model.errors import CallerError, HostError, InvalidRequestContent, RequestTooLarge
from lambent.model.ids import RequestId, new_uuid
from lambent.wire.bodies import write_json
from lambent.wire.message import WireResponse
from lambent.wire.service import OperationCodec, ServiceCodec

UNKNOWN_OPERATION_BODY: Final = b"<UnknownOperationException/>\n"
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")

log = structlog.get_logger(__name__)


def new_request_id() -> RequestId:
    """Return a fresh request id."""
    return RequestId(new_uuid())


def parse_request_id(head: RequestHead) -> RequestId:
    """Return the request id that the caller chose, or a fresh one."""
    given = head.header("x-amzn-requestid")
    if given is None:
        return new_request_id()
    if not _UUID.fullmatch(given):
        # Service model, InvalidRequestContentException: "the 'x-amzn-RequestId' header is not a valid UUID string".
        raise InvalidRequestContent("The 'x-amzn-RequestId' header is not a valid UUID string.")
    return RequestId(given.lower())


class Answers:
    """Writes answers with the headers that each of them carries: Date and x-amzn-RequestId."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second = -1
        self._date = ""

    def headers(self, request_id: str) -> tuple[tuple[str, str], ...]:
        """Return what every answer carries."""
        now = self._clock.now()
        if (second := int(now.timestamp())) != self._second:
            self._second, self._date = second, format_datetime(now, usegmt=True)
        return (("Date", self._date), ("x-amzn-RequestId", request_id))

    def send(self, reply: Reply, request_id: str, response: WireResponse) -> None:
        """Answer with ``response``."""
        reply.send(response.status, self.headers(request_id) + response.headers, response.body)

    def send_json(self, reply: Reply, status: int, value: object) -> None:
        """Answer with a JSON body of our own."""
        headers = (*self.headers(new_request_id()), ("Content-Type", "application/json"))
        reply.send(status, headers, write_json(value))

    def send_unknown_path(self, reply: Reply, request_id: str) -> None:
        """Answer a path that no operation has, as AWS's front layer does."""
        # Seen from AWS: 404, 29 bytes with the line's end, no Content-Type.
        reply.send(404, self.headers(request_id), UNKNOWN_OPERATION_BODY)

    def send_error(
        self, reply: Reply, request_id: str, error: Exception, codec: ServiceCodec | OperationCodec | None
    ) -> None:
        """Answer with ``error`` in the service's own form; what the caller cannot mend goes to our log only."""
        if isinstance(error, HostError):
            log.error("host_failed", request_id=request_id, error=str(error), exc_info=error)
        elif not isinstance(error, CallerError):
            log.error("request_failed", request_id=request_id, exc_info=error)
        self.send(reply, request_id, render_error(error, codec, request_id))

    def refusal(self, error: CallerError, codec: ServiceCodec | None) -> HttpRefusal:
        """Return what answers ``error`` before the body was read."""
        request_id = new_request_id()
        response = render_error(error, codec, request_id)
        return HttpRefusal(response.status, self.headers(request_id) + response.headers, response.body)


def render_error(error: Exception, codec: ServiceCodec | OperationCodec | None, request_id: str) -> WireResponse:
    """Return the answer for ``error``; without a codec in the form that most AWS clients read."""
    if codec is not None:
        return codec.render_error(error, request_id)
    code, status, message = "InternalFailure", 500, "An error occurred and the request cannot be processed."
    if isinstance(error, CallerError):
        code, status, message = error.code, error.status, error.message
    headers = (("content-type", "application/json"), ("x-amzn-errortype", code))
    return WireResponse(status, headers, write_json({"__type": code, "message": message}))


def request_too_large(limit_bytes: int, operation: str) -> RequestTooLarge:
    """Return AWS's error for a request over its operation's limit."""
    # Recorded from AWS (CreateFunction, Invoke).
    return RequestTooLarge(f"Request must be smaller than {limit_bytes} bytes for the {operation} operation")


def body_length(head: RequestHead) -> int | None:
    """Return the length of the body as announced, 0 for none; None for a body in chunks, which is counted."""
    text = head.header("content-length")
    if text is not None:
        return int(text)
    return None if head.header("transfer-encoding") is not None else 0

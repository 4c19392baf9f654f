"""What destinations and dead-letter targets are told, in AWS's form. Pure functions."""

from datetime import datetime
from typing import Any, Final

import msgspec

from lambent.async_invoke.dispatches import Attribute
from lambent.async_invoke.events import QueuedEvent, Response
from lambent.async_invoke.retry import Condition
from lambent.model.functions import LATEST
from lambent.model.ids import new_uuid

# Service model, OnFailure: "Amazon SNS destinations have a message size limit of 256 KB. If the combined size … exceeds
# the limit, Lambda will drop the payload".
TOPIC_LIMIT_BYTES: Final = 262_144
RECORD_LIMIT_BYTES: Final = 1_900_000  # what a queue of the store takes; only S3 would take more
# Developer guide, "Adding a dead-letter queue": "The first 1 KB of the error message."
_MESSAGE_LIMIT_BYTES: Final = 1024
_SKIM: Final = msgspec.json.Decoder(msgspec.Raw)


class _Failure(msgspec.Struct):
    errorMessage: str = ""


_FAILURE: Final = msgspec.json.Decoder(_Failure)


def render_record(
    event: QueuedEvent, condition: Condition, response: Response | None, destination: str, now: datetime
) -> bytes:
    """Return the invocation record, version 1.0, for ``destination`` (an ARN).

    Recorded from AWS (2022 to 2025): the function's ARN always has a qualifier; ``functionError`` is left out on
    success, and without any answer ``responseContext`` and ``responsePayload`` are.
    """
    tries = event.failed_tries + (condition is Condition.SUCCESS)
    record: dict[str, Any] = {
        "version": "1.0",
        "timestamp": render_instant(now),
        "requestContext": {
            "requestId": event.request_id,
            "functionArn": qualified_arn(event),
            "condition": condition,
            "approximateInvokeCount": tries,
        },
        "requestPayload": _embedded(event.payload),
    }
    if response is not None:
        context: dict[str, Any] = {"statusCode": 200, "executedVersion": response.executed_version}
        if response.function_error is not None:
            context["functionError"] = response.function_error
        record |= {"responseContext": context, "responsePayload": _embedded(response.payload)}
    encoded = msgspec.json.encode(record)
    limit_bytes = TOPIC_LIMIT_BYTES if destination.split(":")[2] == "sns" else RECORD_LIMIT_BYTES
    for member in ("responsePayload", "requestPayload"):
        if len(encoded) > limit_bytes:
            record.pop(member, None)
            encoded = msgspec.json.encode(record)
    return encoded


def dead_letter_attributes(event: QueuedEvent, response: Response | None) -> tuple[Attribute, ...]:
    """Return the message attributes of a dead letter. Recorded from AWS (2025-11) for an error of the function."""
    # What an event gets that the function never had is assumed: the error that a synchronous caller would have seen.
    code, message = ("429", "Rate Exceeded.") if response is None else ("200", _error_message(response.payload))
    attributes = (
        Attribute(name="RequestID", kind="String", value=event.request_id),
        Attribute(name="ErrorCode", kind="Number", value=code),
    )
    if not message:
        return attributes
    cut = message.encode()[:_MESSAGE_LIMIT_BYTES].decode(errors="ignore")
    return (*attributes, Attribute(name="ErrorMessage", kind="String", value=cut))


def qualified_arn(event: QueuedEvent) -> str:
    """Return the function's ARN with the qualifier as invoked."""
    return event.scope.arn("lambda", f"function:{event.name}:{event.qualifier or LATEST}")


def object_key(function_name: str, at: datetime) -> str:
    """Return a new key for a record in S3."""
    # Developer guide, "Retaining records": aws/lambda/async/<function-name>/YYYY/MM/DD/YYYY-MM-DDTHH.MM.SS-<UUID>
    return f"aws/lambda/async/{function_name}/{at:%Y/%m/%d}/{at:%Y-%m-%dT%H.%M.%S}-{new_uuid()}"


def render_instant(at: datetime) -> str:
    """Return ``at`` as records show it: milliseconds and Z."""
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def _embedded(payload: bytes) -> object:
    """Return a payload as a JSON value in a record; text that is not JSON becomes a string (assumed)."""
    try:
        payload.decode()
        return _SKIM.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return payload.decode(errors="replace")


def _error_message(payload: bytes) -> str:
    try:
        return _FAILURE.decode(payload).errorMessage
    except (msgspec.MsgspecError, RecursionError):
        return ""

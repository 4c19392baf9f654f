"""What callers of Invoke send beside names: the event, the client context, the trace header; checked, not read."""

import base64
import binascii
import re
from typing import Final

import msgspec

from lambent.model.errors import InvalidRequestContent, ValidationError
from lambent.model.ids import random_digits
from lambent.wire.jackson import explain

# API reference, Invoke, X-Amz-Client-Context: "Up to 3,583 bytes of base64-encoded data".
CLIENT_CONTEXT_LIMIT_BYTES: Final = 3583
_ROOT: Final = re.compile(r"(?:^|;)\s*Root=1-[0-9a-f]{8}-[0-9a-f]{24}(?:;|$)", re.IGNORECASE)
_VISIBLE: Final = re.compile(r"[\x20-\x7e]{1,2048}")
_SKIM: Final = msgspec.json.Decoder(msgspec.Raw)  # finds the end of a value without building it: a tenth of the time
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def parse_event(body: bytes) -> bytes:
    """Return the event of a request's body: empty is ``{}``, anything else must be one JSON value in UTF-8."""
    if not body:
        return b"{}"
    try:
        _SKIM.decode(body)
        if not body.isascii():
            body.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        reason = explain(body)
        if not reason.startswith("Unreadable value"):  # Jackson takes an escaped lone surrogate; so does AWS
            # Recorded from AWS (2025-11): Invoke with a payload that is no JSON.
            words = f"Could not parse request body into json: Could not parse payload into json: {reason}"
            raise InvalidRequestContent(words) from None
    return body


def parse_client_context(header: str) -> str:
    """Return the JSON text of X-Amz-Client-Context."""
    if len(header) > CLIENT_CONTEXT_LIMIT_BYTES:
        raise ValidationError(
            f"1 validation error detected: Value '{header}' at 'clientContext' failed to satisfy constraint: "
            f"Member must have length less than or equal to {CLIENT_CONTEXT_LIMIT_BYTES}"
        )
    try:
        text = base64.b64decode(header, validate=True).decode()
        _OBJECT.decode(text)
    except (binascii.Error, ValueError, msgspec.MsgspecError, RecursionError):
        # Seen from AWS: this text for text that is not base64, and for base64 that is not JSON.
        raise InvalidRequestContent("Client context must be a valid Base64-encoded JSON object.") from None
    return text


def parse_trace_header(header: str | None, now_s: float) -> str:
    """Return the trace header of an invocation: the caller's if it names a root, else a new, unsampled one."""
    if header is not None and _ROOT.search(header) and _VISIBLE.fullmatch(header):
        return header
    # Developer guide, "Visualize Lambda function invocations using AWS X-Ray": Root=1-<time>-<id>;Parent;Sampled.
    digits = random_digits(40)
    return f"Root=1-{int(now_s):08x}-{digits[:24]};Parent={digits[24:]};Sampled=0"

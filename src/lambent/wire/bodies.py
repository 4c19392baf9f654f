"""The JSON of bodies: reading what callers send, with AWS's words for what is no JSON; writing answers."""

from typing import Any, Final

import msgspec

from lambent.model.errors import InvalidRequestContent
from lambent.wire.jackson import explain

_DECODER: Final = msgspec.json.Decoder()
_ENCODER: Final = msgspec.json.Encoder()


def read_json(body: bytes) -> Any:
    """Return the value of ``body``, or raise InvalidRequestContent. An empty body is an empty object."""
    if not body:
        return {}
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, RecursionError, ValueError):
        # Recorded from AWS (Invoke): this prefix before Jackson's words; assumed for the other operations.
        raise InvalidRequestContent(f"Could not parse request body into json: {explain(body)}") from None


def write_json(value: Any) -> bytes:
    """Return ``value`` as compact JSON in UTF-8."""
    return _ENCODER.encode(value)

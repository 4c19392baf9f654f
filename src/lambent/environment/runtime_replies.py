"""The bodies with which the Runtime API answers."""

from typing import Final

import msgspec

from lambent.environment.runtime_states import WANTED_STATES, RuntimeEvent, RuntimeState
from lambent.http.application import Headers
from lambent.model.invocations import SYNC_RESPONSE_LIMIT_BYTES

JSON: Final[Headers] = (("Content-Type", "application/json"),)
PLAIN: Final[Headers] = (("Content-Type", "text/plain; charset=utf-8"),)
ACCEPTED: Final = b'{"status":"OK"}\n'
NOT_FOUND: Final = b"404 page not found\n"
NOT_ALLOWED: Final = b""


def render_refusal(error_type: str, message: str) -> bytes:
    """Return the body of a refused call."""
    return msgspec.json.encode({"errorMessage": message, "errorType": error_type}) + b"\n"


def render_transition_refusal(state: RuntimeState, event: RuntimeEvent) -> bytes:
    """Return the body for a call that is not allowed in ``state``."""
    message = (
        f"State transition from {state} to {WANTED_STATES[event]} failed for runtime. "
        "Error: State transition is not allowed"
    )
    return render_refusal("InvalidStateTransition", message)


TOO_LARGE: Final = render_refusal(
    "RequestEntityTooLarge", f"Exceeded maximum allowed payload size ({SYNC_RESPONSE_LIMIT_BYTES} bytes)."
)
TRUNCATED: Final = render_refusal("TruncatedHTTPRequest", "HTTP request detected as truncated")
INVALID_MODE: Final = render_refusal("InvalidFunctionResponseMode", "Invalid function response mode")

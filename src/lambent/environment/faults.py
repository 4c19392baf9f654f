"""What a caller gets when the runtime did not answer: AWS's error types and texts for timeouts, exits and the like."""

import re
import signal
from collections.abc import Mapping
from typing import Final

import msgspec

from lambent.model.ids import RequestId
from lambent.model.invocations import SYNC_RESPONSE_LIMIT_BYTES
from lambent.sandbox.driver import Exit

TIMED_OUT: Final = "Sandbox.Timedout"
EXIT_ERROR: Final = "Runtime.ExitError"
OUT_OF_MEMORY: Final = "Runtime.OutOfMemory"
INVALID_ENTRYPOINT: Final = "Runtime.InvalidEntrypoint"
INVALID_RESPONSE_MODE: Final = "Runtime.InvalidResponseModeHeader"
TRUNCATED_RESPONSE: Final = "Runtime.TruncatedResponse"
RESPONSE_TOO_LARGE: Final = "Function.ResponseSizeTooLarge"

_KEPT_TYPE: Final = re.compile(r"(Runtime|Function)\.[A-Z][a-zA-Z]+")
_KEPT_TYPE_LIMIT: Final = 256

# Go's words for signals, which AWS prints; others are "signal <n>".
_SIGNAL_WORDS: Final[Mapping[int, str]] = {
    signal.SIGHUP: "hangup",
    signal.SIGINT: "interrupt",
    signal.SIGQUIT: "quit",
    signal.SIGILL: "illegal instruction",
    signal.SIGTRAP: "trace/breakpoint trap",
    signal.SIGABRT: "aborted",
    signal.SIGBUS: "bus error",
    signal.SIGFPE: "floating point exception",
    signal.SIGKILL: "killed",
    signal.SIGUSR1: "user defined signal 1",
    signal.SIGSEGV: "segmentation fault",
    signal.SIGUSR2: "user defined signal 2",
    signal.SIGPIPE: "broken pipe",
    signal.SIGALRM: "alarm clock",
    signal.SIGTERM: "terminated",
}


def sanitised_error_type(stated: str | None) -> str:
    """Return the error type that logs and telemetry show for what a runtime stated in its header."""
    # The interface emulator's rule: its pattern may match anywhere in the text. The bound on the length is ours.
    text = stated or ""
    if len(text) <= _KEPT_TYPE_LIMIT and text.isprintable() and _KEPT_TYPE.search(text):
        return text
    return "Function.Unknown" if text.startswith("Function.") else "Runtime.Unknown"


def render_fault(error_type: str, message: str, request_id: RequestId) -> bytes:
    """Return the payload for a failure that the platform found, with AWS's prefix."""
    # Recorded from AWS: {"errorType":"Sandbox.Timedout","errorMessage":"RequestId: <id> Error: Task timed out …"}.
    return msgspec.json.encode({"errorType": error_type, "errorMessage": f"RequestId: {request_id} Error: {message}"})


def render_timeout(request_id: RequestId, timeout_s: int) -> bytes:
    """Return the payload for an invocation that ran into its timeout."""
    return render_fault(TIMED_OUT, f"Task timed out after {timeout_s:.2f} seconds", request_id)


def render_too_large() -> bytes:
    """Return the payload in place of a response over the limit."""
    # Recorded from AWS: this text, this order of members, no request id.
    text = f"Response payload size exceeded maximum allowed payload size ({SYNC_RESPONSE_LIMIT_BYTES} bytes)."
    return msgspec.json.encode({"errorMessage": text, "errorType": RESPONSE_TOO_LARGE})


def exit_error_type(ended: Exit) -> str:
    """Return the error type of a runtime that ended before it answered."""
    return OUT_OF_MEMORY if ended.out_of_memory else EXIT_ERROR


def exit_message(ended: Exit) -> str:
    """Return AWS's words for a runtime that ended before it answered."""
    if ended.out_of_memory:
        # The kernel's killer sends SIGKILL, whichever process of the tree it chose.
        return "Runtime exited with error: signal: killed"
    if ended.signal is not None:
        return f"Runtime exited with error: signal: {_SIGNAL_WORDS.get(ended.signal, f'signal {ended.signal}')}"
    if ended.code:
        return f"Runtime exited with error: exit status {ended.code}"
    return "Runtime exited without providing a reason"

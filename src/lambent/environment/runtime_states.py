"""The runtime's half of the Runtime API as a table: which call is allowed when, under the names that AWS prints."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class RuntimeState(StrEnum):
    """Where the conversation with a runtime stands; the values stand in AWS's error messages."""

    STARTED = "Started"
    INIT_ERROR = "InitError"
    READY = "Ready"
    RUNNING = "Running"
    RESTORE_READY = "RestoreReady"
    RESTORING = "Restoring"
    RESPONDING = "InvocationResponse"
    RESPONDING_ERROR = "InvocationErrorResponse"
    RESPONSE_SENT = "RuntimeResponseSentState"
    RESTORE_ERROR = "RuntimeRestoreErrorState"


class RuntimeEvent(StrEnum):
    """What moves the conversation: a call of the runtime, or (DISPATCH, SENT, RESTORE) a step of ours."""

    NEXT = "next"
    DISPATCH = "dispatch"
    RESPONSE = "response"
    ERROR = "error"
    SENT = "sent"
    INIT_ERROR = "init_error"
    RESTORE_NEXT = "restore_next"
    RESTORE = "restore"
    RESTORE_ERROR = "restore_error"


# The interface emulator's state machine (open part of what AWS runs in a sandbox), and the developer guide, "Using the
# Lambda runtime API". `next` while an event is open gives the same event again; `next` again while waiting just waits.
RUNTIME_TRANSITIONS: Final[Mapping[tuple[RuntimeState, RuntimeEvent], RuntimeState]] = {
    (RuntimeState.STARTED, RuntimeEvent.NEXT): RuntimeState.READY,
    (RuntimeState.STARTED, RuntimeEvent.INIT_ERROR): RuntimeState.INIT_ERROR,
    (RuntimeState.STARTED, RuntimeEvent.RESTORE_NEXT): RuntimeState.RESTORE_READY,
    (RuntimeState.RESTORE_READY, RuntimeEvent.RESTORE): RuntimeState.RESTORING,
    (RuntimeState.RESTORING, RuntimeEvent.NEXT): RuntimeState.READY,
    (RuntimeState.RESTORING, RuntimeEvent.RESTORE_ERROR): RuntimeState.RESTORE_ERROR,
    (RuntimeState.READY, RuntimeEvent.NEXT): RuntimeState.READY,
    (RuntimeState.READY, RuntimeEvent.DISPATCH): RuntimeState.RUNNING,
    (RuntimeState.RUNNING, RuntimeEvent.NEXT): RuntimeState.RUNNING,
    (RuntimeState.RUNNING, RuntimeEvent.RESPONSE): RuntimeState.RESPONDING,
    (RuntimeState.RUNNING, RuntimeEvent.ERROR): RuntimeState.RESPONDING_ERROR,
    (RuntimeState.RESPONDING, RuntimeEvent.SENT): RuntimeState.RESPONSE_SENT,
    (RuntimeState.RESPONDING_ERROR, RuntimeEvent.SENT): RuntimeState.RESPONSE_SENT,
    (RuntimeState.RESPONSE_SENT, RuntimeEvent.NEXT): RuntimeState.READY,
}

# The state that AWS names as the one a refused call wanted to reach.
WANTED_STATES: Final[Mapping[RuntimeEvent, RuntimeState]] = {
    RuntimeEvent.NEXT: RuntimeState.READY,
    RuntimeEvent.RESPONSE: RuntimeState.RESPONDING,
    RuntimeEvent.ERROR: RuntimeState.RESPONDING_ERROR,
    RuntimeEvent.INIT_ERROR: RuntimeState.INIT_ERROR,
    RuntimeEvent.RESTORE_NEXT: RuntimeState.RESTORE_READY,
    RuntimeEvent.RESTORE_ERROR: RuntimeState.RESTORE_ERROR,
}


def find_runtime_state(state: RuntimeState, event: RuntimeEvent) -> RuntimeState | None:
    """Return the state after ``event``, or None where AWS refuses it: a runtime may call anything at any time."""
    return RUNTIME_TRANSITIONS.get((state, event))

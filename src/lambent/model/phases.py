"""The life of an execution environment as a table. ``environment`` applies it; docs draw it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from lambent.model.errors import TransitionError


class Phase(StrEnum):
    """Where an execution environment stands."""

    CELL = "cell"
    ASSIGNING = "assigning"
    INITIALISING = "initialising"
    IDLE = "idle"
    BUSY = "busy"
    RESETTING = "resetting"
    SHUTTING_DOWN = "shutting_down"
    GONE = "gone"


class Event(StrEnum):
    """What moves an execution environment from one phase to another."""

    ASSIGN = "assign"
    CODE_READY = "code_ready"
    NEXT = "next"
    INVOKE = "invoke"
    FAULT = "fault"
    RETIRE = "retire"
    DIED = "died"


TRANSITIONS: Final[Mapping[tuple[Phase, Event], Phase]] = {
    (Phase.CELL, Event.ASSIGN): Phase.ASSIGNING,
    (Phase.ASSIGNING, Event.CODE_READY): Phase.INITIALISING,
    (Phase.INITIALISING, Event.NEXT): Phase.IDLE,  # the runtime and every extension asked for `next`
    (Phase.IDLE, Event.INVOKE): Phase.BUSY,
    (Phase.BUSY, Event.NEXT): Phase.IDLE,
    (Phase.BUSY, Event.FAULT): Phase.RESETTING,  # timeout or crash
    (Phase.INITIALISING, Event.FAULT): Phase.RESETTING,  # init failed or took 10 s: the next call runs init again
    (Phase.IDLE, Event.FAULT): Phase.RESETTING,  # the runtime died between two invocations
    (Phase.RESETTING, Event.INVOKE): Phase.INITIALISING,  # suppressed init
    **{
        (phase, Event.RETIRE): Phase.SHUTTING_DOWN
        for phase in (Phase.CELL, Phase.IDLE, Phase.RESETTING, Phase.INITIALISING)
    },
    **{(phase, Event.DIED): Phase.GONE for phase in Phase if phase is not Phase.GONE},
}


def next_phase(phase: Phase, event: Event) -> Phase:
    """Return the phase after ``event`` in ``phase``; TransitionError where the table has no such edge."""
    if (after := TRANSITIONS.get((phase, event))) is None:
        raise TransitionError(f"{event} in phase {phase}")
    return after

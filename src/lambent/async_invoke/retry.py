"""What becomes of an event after a try: the rules of asynchronous invocation, as pure functions."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, TypeAlias, assert_never

from lambent.async_invoke.events import QueuedEvent

# Developer guide, "How Lambda handles errors and retries with asynchronous invocation": two retries, six hours.
MAX_RETRIES: Final = 2
MAX_AGE_S: Final = 21_600
_LONGEST_BACKOFF_S: Final = 300


class Outcome(StrEnum):
    """How a try ended."""

    SUCCEEDED = "succeeded"
    FUNCTION_ERROR = "function_error"
    THROTTLED = "throttled"
    HOST_ERROR = "host_error"  # also a function that is not ready: what AWS answers with a 5xx or a 409


class Condition(StrEnum):
    """``condition`` of a destination's record."""

    SUCCESS = "Success"
    RETRIES_EXHAUSTED = "RetriesExhausted"
    AGE_EXCEEDED = "EventAgeExceeded"
    ZERO_CONCURRENCY = "ZeroReservedConcurrency"


@dataclass(frozen=True, slots=True)
class EventPolicy:
    """What the event invoke configuration says, or its defaults."""

    max_retries: int = MAX_RETRIES
    max_age_s: int = MAX_AGE_S


@dataclass(frozen=True, slots=True)
class Done:
    """It succeeded."""


@dataclass(frozen=True, slots=True)
class RetryAt:
    """It gets another try."""

    at: datetime


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It leaves the queue without success."""

    condition: Condition


NextStep: TypeAlias = Done | RetryAt | GiveUp


def decide_next_step(event: QueuedEvent, outcome: Outcome, policy: EventPolicy, now: datetime) -> NextStep:
    """Return what becomes of ``event`` after a try that ended in ``outcome`` at ``now``."""
    match outcome:
        case Outcome.SUCCEEDED:
            return Done()
        case Outcome.FUNCTION_ERROR:
            if event.failed_tries >= policy.max_retries:
                return GiveUp(Condition.RETRIES_EXHAUSTED)
            # Developer guide, as above: one minute before the first retry, two before the second.
            delay_s = 60 * (event.failed_tries + 1)
        case Outcome.THROTTLED | Outcome.HOST_ERROR:
            delay_s = backoff_s(event.throttled_tries)
        case _:
            assert_never(outcome)
    at = now + timedelta(seconds=delay_s)
    # Recorded from AWS (2025-11): a retry that would come after the maximum age is not waited for.
    if at - event.accepted_at > timedelta(seconds=policy.max_age_s):
        return GiveUp(Condition.AGE_EXCEEDED)
    return RetryAt(at)


def decide_before(
    event: QueuedEvent, policy: EventPolicy, *, reserved_concurrency: int | None, now: datetime
) -> GiveUp | None:
    """Return why ``event`` gets no try now, or None."""
    # Recorded from AWS: reserved concurrency 0 ends the event at once; its record counts no try.
    if reserved_concurrency == 0:
        return GiveUp(Condition.ZERO_CONCURRENCY)
    if now - event.accepted_at > timedelta(seconds=policy.max_age_s):
        return GiveUp(Condition.AGE_EXCEEDED)
    return None


def backoff_s(tries: int) -> int:
    """Return how long what was throttled ``tries`` times before waits for its next try."""
    # Developer guide, as above: "from 1 second after the first attempt to a maximum of 5 minutes", exponentially.
    # That it doubles is assumed (docs/fidelity.md).
    return min(1 << min(tries, 9), _LONGEST_BACKOFF_S)

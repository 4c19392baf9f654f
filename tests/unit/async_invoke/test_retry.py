"""The rules of retries, one row a sentence of AWS's documentation."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.async_invoke.events import QueuedEvent
from lambent.async_invoke.retry import (
    Condition,
    Done,
    EventPolicy,
    GiveUp,
    Outcome,
    RetryAt,
    decide_before,
    decide_next_step,
)
from lambent.model.ids import RequestId, Scope

T0 = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
OK, ERROR, THROTTLE, HOST = Outcome.SUCCEEDED, Outcome.FUNCTION_ERROR, Outcome.THROTTLED, Outcome.HOST_ERROR


def event(failed=0, throttled=0):
    return QueuedEvent(
        request_id=RequestId("r"), scope=Scope("111111111111", "us-east-1"), name="fn", qualifier=None, payload=b"{}",
        accepted_at=T0, failed_tries=failed, throttled_tries=throttled,
    )  # fmt: skip


def after(seconds):
    return T0 + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("failed", "throttled", "outcome", "policy", "now", "expected"),
    [
        pytest.param(0, 0, OK, {}, 5, Done(), id="success leaves the queue"),
        pytest.param(0, 0, ERROR, {}, 0, RetryAt(after(60)), id="the first error waits a minute"),
        pytest.param(1, 0, ERROR, {}, 60, RetryAt(after(180)), id="the second error waits two"),
        pytest.param(2, 0, ERROR, {}, 180, GiveUp(Condition.RETRIES_EXHAUSTED), id="the third error gives up"),
        pytest.param(0, 0, ERROR, {"max_retries": 0}, 0, GiveUp(Condition.RETRIES_EXHAUSTED), id="no retry at all"),
        pytest.param(1, 0, ERROR, {"max_retries": 1}, 60, GiveUp(Condition.RETRIES_EXHAUSTED), id="one retry"),
        # Recorded from AWS, test_maxeventage: 60 s leave no room for a retry, more leave room for one.
        pytest.param(0, 0, ERROR, {"max_age_s": 60}, 1, GiveUp(Condition.AGE_EXCEEDED), id="no time for a retry"),
        pytest.param(0, 0, ERROR, {"max_age_s": 80}, 1, RetryAt(after(61)), id="time for one retry"),
        pytest.param(1, 0, ERROR, {"max_age_s": 80}, 62, GiveUp(Condition.AGE_EXCEEDED), id="but not for two"),
        pytest.param(0, 0, THROTTLE, {}, 0, RetryAt(after(1)), id="a throttle waits a second"),
        pytest.param(0, 4, THROTTLE, {}, 0, RetryAt(after(16)), id="and longer each time"),
        pytest.param(0, 99, HOST, {}, 0, RetryAt(after(300)), id="five minutes at most"),
        pytest.param(2, 0, THROTTLE, {"max_retries": 2}, 0, RetryAt(after(1)), id="a throttle uses up no retry"),
        pytest.param(0, 9, THROTTLE, {}, 21_400, GiveUp(Condition.AGE_EXCEEDED), id="never past six hours"),
    ],
)
def test_an_event_after_a_try(failed, throttled, outcome, policy, now, expected):
    assert decide_next_step(event(failed, throttled), outcome, EventPolicy(**policy), after(now)) == expected


@pytest.mark.parametrize(
    ("reserved", "now", "expected"),
    [
        (None, 21_600, None),
        (None, 21_601, GiveUp(Condition.AGE_EXCEEDED)),
        (0, 0, GiveUp(Condition.ZERO_CONCURRENCY)),
        (0, 99_999, GiveUp(Condition.ZERO_CONCURRENCY)),
        (1, 0, None),
    ],
)
def test_an_event_before_a_try(reserved, now, expected):
    assert decide_before(event(), EventPolicy(), reserved_concurrency=reserved, now=after(now)) == expected


@given(
    failed=st.integers(0, 2),
    throttled=st.integers(0, 10_000),
    age_s=st.integers(0, 30_000),
    max_age_s=st.integers(60, 21_600),
    outcome=st.sampled_from(Outcome),
)
def test_no_retry_is_set_in_the_past_or_beyond_the_event_age(failed, throttled, age_s, max_age_s, outcome):
    step = decide_next_step(event(failed, throttled), outcome, EventPolicy(max_age_s=max_age_s), after(age_s))
    if isinstance(step, RetryAt):
        assert after(age_s) < step.at <= after(max_age_s)

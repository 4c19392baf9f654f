"""Who may take how much."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.async_invoke.shares import (
    ShareLimits,
    decide_room,
    decide_window,
    decide_window_after_overload,
)

LIMITS = ShareLimits(total=100, own=2, first_window=8)


def room(**values):
    return decide_room(LIMITS, **({"in_hand": 0, "total_in_hand": 0, "active": 1, "window": 1000} | values))


def test_one_queue_alone_may_take_all():
    assert room() == 100
    assert room(in_hand=60, total_in_hand=60) == 40


def test_two_queues_share_equally():
    assert room(active=2) == 50
    assert room(active=2, in_hand=50, total_in_hand=50) == 0


def test_a_queue_gets_its_own_two_even_if_others_hold_everything():
    assert room(active=2, total_in_hand=100) == 2
    assert room(active=2, in_hand=2, total_in_hand=102) == 0


def test_a_window_bounds_a_queue_whatever_is_free():
    assert room(window=8) == 8
    assert room(window=1, active=2, total_in_hand=100) == 1


@pytest.mark.parametrize(
    ("window", "completed", "elapsed_s", "best_rate", "expected"),
    [
        pytest.param(8, 3, 2.9, 10, None, id="too early to say of a slow one"),
        pytest.param(8, 3, 3, 10, 12, id="a slow one gets more"),
        pytest.param(90, 3, 3, 0, 100, id="up to the bound"),
        pytest.param(8, 900, 0.9, 0, None, id="too early to say of a quick one"),
        pytest.param(8, 900, 1, 0, 12, id="a quick one gets more"),
        pytest.param(12, 1100, 1, 900, 18, id="as long as it helps"),
        pytest.param(18, 1150, 1, 1100, 18, id="and no more"),
        pytest.param(1, 1, 1, 0, 2, id="from one to two"),
    ],
)
def test_a_backlog_gets_more_at_once_where_that_helps(window, completed, elapsed_s, best_rate, expected):
    wanted = decide_window(LIMITS, window=window, completed=completed, elapsed_s=elapsed_s, best_rate=best_rate)
    assert wanted == expected


def test_a_throttle_halves_the_window_down_to_one():
    assert [decide_window_after_overload(window) for window in (16, 3, 1)] == [8, 1, 1]


@given(st.lists(st.integers(0, 200), min_size=1, max_size=8), st.integers(1, 300))
def test_what_is_in_hand_stays_bounded_in_whatever_order_queues_ask(asking, window):
    held = [0] * len(asking)
    for index in asking * 3:
        who = index % len(held)
        active = sum(map(bool, held)) + (not held[who])
        held[who] += decide_room(LIMITS, in_hand=held[who], total_in_hand=sum(held), active=active, window=window)
    assert sum(held) <= LIMITS.total + LIMITS.own * len(held)

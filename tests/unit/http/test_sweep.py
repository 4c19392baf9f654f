"""One timer for all deadlines."""

from math import inf

import pytest

from lambent.http.sweep import Sweep

pytestmark = pytest.mark.anyio


class Watched:
    def __init__(self, deadline_s, *, fails=False):
        self.deadline_mono_s, self.fails, self.expired = deadline_s, fails, 0

    def expire(self):
        self.expired += 1
        self.deadline_mono_s = inf
        if self.fails:
            raise RuntimeError("planted")


async def test_only_what_is_due_expires_and_a_failing_one_stops_no_other():
    now = [100.0]
    sweep = Sweep(lambda: now[0], interval_s=1000)
    due, failing, later, never = Watched(110), Watched(105, fails=True), Watched(111), Watched(inf)
    for each in (due, failing, later, never):
        sweep.watch(each)
    sweep.sweep_once()
    assert (due.expired, failing.expired) == (0, 0)
    now[0] = 110.0
    sweep.sweep_once()
    assert (due.expired, failing.expired, later.expired, never.expired) == (1, 1, 0, 0)
    sweep.forget(later)
    sweep.forget(later)
    now[0] = 1000.0
    sweep.sweep_once()
    assert (due.expired, later.expired, sweep.now_mono_s) == (1, 0, 1000.0)


async def test_time_is_fresh_when_the_first_is_watched_after_a_pause():
    now = [0.0]
    sweep = Sweep(lambda: now[0], interval_s=1000)
    now[0] = 500.0
    sweep.watch(Watched(inf))
    assert sweep.now_mono_s == 500.0

"""Callbacks at instants of an injected clock."""

import pytest

from lambent.store.sqlite.alarms import Alarms
from lambent.testing.clock import FakeClock

pytestmark = pytest.mark.anyio


@pytest.fixture
async def alarms(clock):
    alarms = Alarms(clock)
    yield alarms
    await alarms.close()


@pytest.fixture
def clock():
    return FakeClock()


async def test_alarms_ring_in_order_of_their_instants(alarms, clock):
    rung = []
    for delay_s in (3, 1, 2, 1.5, 0):
        alarms.after_s(delay_s, lambda delay_s=delay_s: rung.append((delay_s, clock.mono_s())))
    await clock.advance_s(1.7)
    assert [delay_s for delay_s, _ in rung] == [0, 1, 1.5]
    await clock.advance_s(5)
    assert rung[3:] == [(2, pytest.approx(2)), (3, pytest.approx(3))]


async def test_a_cancelled_alarm_does_not_ring(alarms, clock):
    rung = []
    cancel = alarms.after_s(1, lambda: rung.append(1))
    alarms.after_s(2, lambda: rung.append(2))
    cancel()
    cancel()
    await clock.advance_s(3)
    assert rung == [2]


async def test_an_alarm_may_set_an_earlier_one_and_rings_after_idle_time(alarms, clock):
    rung = []
    alarms.after_s(10, lambda: rung.append(10))
    alarms.after_s(1, lambda: alarms.after_s(1, lambda: rung.append(2)))
    await clock.advance_s(5)
    assert rung == [2]
    await clock.advance_s(5)
    assert rung == [2, 10]
    alarms.after_s(1, lambda: rung.append(11))
    await clock.advance_s(1)
    assert rung == [2, 10, 11]


async def test_many_cancelled_alarms_cost_no_memory(alarms, clock):
    alarms.after_s(9_999, lambda: None)
    for _ in range(5_000):
        alarms.after_s(1_000, lambda: None)()
    assert len(alarms._heap) < 600

"""What an environment is expected to use, whether one more fits, who gives way: decided, a row for each sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.environment.room import (
    Evictable,
    Room,
    RoomLimits,
    Shortage,
    decide_eviction,
    decide_relief,
    decide_reservation,
    decide_shortage,
)
from lambent.sandbox.host_memory import MemoryReading

LIMITS = RoomLimits(max_environments=4, memory_budget_mib=1000, memory_reserve_mib=200)


@pytest.mark.parametrize(
    ("memory_mib", "peak_mib", "expected"),
    [
        pytest.param(128, 0, 128, id="unseen-and-small-reserves-all"),
        pytest.param(512, 0, 128, id="unseen-reserves-a-quarter"),
        pytest.param(10_240, 0, 2560, id="unseen-and-large-too"),
        pytest.param(10_240, 40, 58, id="seen-reserves-what-was-seen-and-a-quarter-more"),
        pytest.param(10_240, 10_000, 10_240, id="never-more-than-it-may-use"),
        pytest.param(128, 128, 128, id="seen-to-use-all-reserves-all"),
    ],
)
def test_an_environment_reserves_what_it_is_expected_to_use(memory_mib, peak_mib, expected):
    assert decide_reservation(memory_mib, peak_mib) == expected


@pytest.mark.parametrize(
    ("environments", "reserved_mib", "available_mib", "wanted_mib", "expected"),
    [
        pytest.param(3, 900, 5000, 100, Shortage(), id="room-to-the-last"),
        pytest.param(4, 0, 5000, 1, Shortage(1, 0), id="number-is-bounded"),
        pytest.param(1, 901, 5000, 100, Shortage(0, 1), id="memory-is-bounded"),
        pytest.param(1, 0, 250, 100, Shortage(0, 50), id="what-others-of-the-host-use-counts"),
        pytest.param(4, 990, 250, 100, Shortage(1, 90), id="the-largest-lack-counts"),
        pytest.param(0, 0, 9000, 5000, Shortage(), id="one-alone-may-have-all-there-is"),
        pytest.param(0, 0, 5100, 5000, Shortage(0, 100), id="but-not-what-there-is-not"),
    ],
)
def test_one_more_fits_or_this_is_missing(environments, reserved_mib, available_mib, wanted_mib, expected):
    room = Room(environments=environments, reserved_mib=reserved_mib, available_mib=available_mib)
    assert decide_shortage(LIMITS, room, wanted_mib) == expected


@pytest.mark.parametrize(
    ("available_mib", "stalled_percent", "expected"),
    [
        pytest.param(500, 0.0, 0, id="enough"),
        pytest.param(500, 9.0, 0, id="some-waiting-is-normal"),
        pytest.param(150, 0.0, 50, id="below-the-reserve"),
        pytest.param(500, 11.0, 1, id="thrashing-whatever-is-available"),
        pytest.param(150, 60.0, 50, id="both"),
    ],
)
def test_idle_ones_give_back_memory_when_the_host_runs_out_of_it(available_mib, stalled_percent, expected):
    assert decide_relief(LIMITS, MemoryReading(4000, available_mib, stalled_percent)) == expected


def idle(*pairs):
    return [Evictable(idle_s=idle_s, held_mib=mib, frees_mib=mib) for idle_s, mib in pairs]


@pytest.mark.parametrize(
    ("candidates", "shortage", "expected"),
    [
        pytest.param(idle((5, 10), (9, 10), (1, 10)), Shortage(1), [1], id="number-idle-longest-first"),
        pytest.param(idle((5, 900), (9, 10)), Shortage(1), [1], id="number-whatever-they-hold"),
        pytest.param(idle((5, 900), (9, 10)), Shortage(0, 5), [0], id="memory-large-and-unused-first"),
        pytest.param(idle((0.01, 900), (600, 40)), Shortage(0, 5), [1], id="memory-not-what-was-just-used"),
        pytest.param(idle((5, 40), (9, 40), (7, 40)), Shortage(0, 60), [1, 2], id="as-many-as-it-takes"),
        pytest.param(idle((5, 40), (9, 40)), Shortage(0, 500), [1, 0], id="all-where-that-is-not-enough"),
        pytest.param(idle((5, 40), (9, 40), (7, 40)), Shortage(2, 10), [1, 2], id="both-lacks-are-made-up-for"),
        pytest.param([], Shortage(1, 1), [], id="nobody"),
    ],
)
def test_who_gives_way(candidates, shortage, expected):
    assert decide_eviction(candidates, shortage) == expected


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 5000)), max_size=20),
    st.builds(Shortage, st.integers(0, 5), st.integers(0, 20_000)),
)
def test_no_more_are_ended_than_it_takes(pairs, shortage):
    candidates = idle(*pairs)
    chosen = decide_eviction(candidates, shortage)
    assert len(set(chosen)) == len(chosen)

    def is_enough(some):
        freed = sum(candidates[at].frees_mib for at in some)
        return len(some) >= shortage.environments and freed >= shortage.memory_mib

    assert is_enough(chosen) or len(chosen) == len(candidates)
    assert not chosen or not is_enough(chosen[:-1])

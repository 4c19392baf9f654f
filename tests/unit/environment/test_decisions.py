"""Placement, faults, the tables of states, deadlines: what is decided without a loop or in fake time."""

import asyncio
import itertools
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.environment import faults
from lambent.environment.deadlines import Deadlines
from lambent.environment.limits import decide_limits
from lambent.environment.placement import Placement, decide_placement
from lambent.environment.runtime_states import (
    RUNTIME_TRANSITIONS,
    WANTED_STATES,
    RuntimeEvent,
    RuntimeState,
    find_runtime_state,
)
from lambent.model.errors import TransitionError
from lambent.model.ids import RequestId
from lambent.model.phases import TRANSITIONS, Event, Phase, next_phase
from lambent.sandbox.driver import Exit
from lambent.testing.clock import FakeClock


@pytest.mark.parametrize(
    ("idle", "settling", "waiting", "has_room", "can_evict", "expected"),
    [
        pytest.param(1, 0, 0, False, False, Placement.REUSE, id="idle-is-reused-on-a-full-host"),
        pytest.param(0, 1, 0, True, False, Placement.WAIT, id="one-about-to-be-free-is-waited-for"),
        pytest.param(0, 1, 1, True, False, Placement.START, id="but-not-by-two"),
        pytest.param(0, 0, 0, True, True, Placement.START, id="room-is-used-before-others-are-ended"),
        pytest.param(0, 0, 0, False, True, Placement.EVICT, id="others-give-way"),
        pytest.param(0, 0, 0, False, False, Placement.REFUSE, id="nothing-idle-to-end"),
    ],
)
def test_placement(idle, settling, waiting, has_room, can_evict, expected):
    decided = decide_placement(idle=idle, settling=settling, waiting=waiting, has_room=has_room, can_evict=can_evict)
    assert decided is expected


@pytest.mark.parametrize(("phase", "event"), list(itertools.product(Phase, Event)))
def test_every_pair_of_phase_and_event_is_an_edge_or_refused(phase, event):
    if (phase, event) in TRANSITIONS:
        assert next_phase(phase, event) is TRANSITIONS[phase, event]
    else:
        with pytest.raises(TransitionError):
            next_phase(phase, event)


def test_nothing_leaves_the_end_and_everything_can_reach_it():
    assert not [pair for pair in TRANSITIONS if pair[0] is Phase.GONE]
    assert all(TRANSITIONS[phase, Event.DIED] is Phase.GONE for phase in Phase if phase is not Phase.GONE)


ALLOWED = {
    ("Started", "next"): "Ready",
    ("Started", "init_error"): "InitError",
    ("Started", "restore_next"): "RestoreReady",
    ("RestoreReady", "restore"): "Restoring",
    ("Restoring", "next"): "Ready",
    ("Restoring", "restore_error"): "RuntimeRestoreErrorState",
    ("Ready", "next"): "Ready",
    ("Ready", "dispatch"): "Running",
    ("Running", "next"): "Running",
    ("Running", "response"): "InvocationResponse",
    ("Running", "error"): "InvocationErrorResponse",
    ("InvocationResponse", "sent"): "RuntimeResponseSentState",
    ("InvocationErrorResponse", "sent"): "RuntimeResponseSentState",
    ("RuntimeResponseSentState", "next"): "Ready",
}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(RuntimeState, RuntimeEvent)))
def test_the_runtime_api_allows_what_aws_allows_and_nothing_else(state, event):
    after = find_runtime_state(state, event)
    assert (None if after is None else str(after)) == ALLOWED.get((str(state), str(event)))


def test_every_call_of_a_runtime_has_a_name_for_what_it_wanted():
    calls = {event for _, event in RUNTIME_TRANSITIONS} - {
        RuntimeEvent.DISPATCH, RuntimeEvent.SENT, RuntimeEvent.RESTORE
    }  # fmt: skip
    assert set(WANTED_STATES) == calls


@pytest.mark.parametrize(
    ("ended", "text"),
    [
        (Exit(0, None), "Runtime exited without providing a reason"),
        (Exit(127, None), "Runtime exited with error: exit status 127"),
        (Exit(None, 6), "Runtime exited with error: signal: aborted"),
        (Exit(None, 15), "Runtime exited with error: signal: terminated"),
        (Exit(None, 35), "Runtime exited with error: signal: signal 35"),
        (Exit(1, None, out_of_memory=True), "Runtime exited with error: signal: killed"),
    ],
)
def test_words_for_an_exit_are_awss(ended, text):
    assert faults.exit_message(ended) == text


@pytest.mark.parametrize(("timeout_s", "text"), [(1, "1.00"), (3, "3.00"), (900, "900.00")])
def test_words_for_a_timeout_are_awss(timeout_s, text):
    payload = json.loads(faults.render_timeout(RequestId("id"), timeout_s))
    assert payload == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: id Error: Task timed out after {text} seconds",
    }


@given(st.text(max_size=300))
def test_an_error_type_is_always_awss_or_unknown(text):
    kept = faults.sanitised_error_type(text)
    assert kept == text or kept in ("Runtime.Unknown", "Function.Unknown")
    assert "\n" not in kept
    assert len(kept) <= 256


@pytest.mark.anyio
async def test_timer_fires_once_at_its_last_instant_and_one_sleeper_serves_all():
    clock = FakeClock()
    deadlines = Deadlines(clock)
    fired = []
    timers = [deadlines.timer(lambda at=at: fired.append((at, clock.mono_s()))) for at in range(3)]
    async with asyncio.TaskGroup() as group:
        runner = group.create_task(deadlines.run())
        timers[0].set(5.0)
        timers[1].set(2.0)
        timers[2].set(9.0)
        await clock.advance_s(1.0)
        assert clock.sleeping <= 1
        timers[0].set(7.0)  # later than before: it stays in the heap and is put back
        timers[1].clear()
        timers[2].set(3.0)  # earlier than before
        await clock.advance_s(20.0)
        runner.cancel()
    assert fired == [(2, 3.0), (0, 7.0)]


@pytest.mark.anyio
async def test_setting_a_timer_again_and_again_does_not_grow_the_heap():
    clock = FakeClock()
    deadlines = Deadlines(clock)
    timer = deadlines.timer(lambda: None)
    for at in range(10_000):
        timer.set(10.0 + at)
        timer.clear()
    assert len(deadlines._heap) == 1


@pytest.mark.anyio
async def test_timer_that_fails_does_not_stop_the_others():
    clock = FakeClock()
    deadlines = Deadlines(clock)
    fired = []

    def fail():
        raise RuntimeError("a defect")

    async with asyncio.TaskGroup() as group:
        runner = group.create_task(deadlines.run())
        deadlines.timer(fail).set(1.0)
        deadlines.timer(lambda: fired.append(True)).set(1.0)
        await clock.advance_s(2.0)
        runner.cancel()
    assert fired == [True]


@pytest.mark.parametrize(
    ("memory_mib", "processes"), [(128, 742), (129, 746), (198, 1022), (199, 1024), (10_240, 1024)]
)
def test_processes_grow_with_memory_to_the_quota(kit, memory_mib, processes):
    limits = decide_limits(replace(kit.VERSION, memory_mib=memory_mib))
    assert (limits.processes, limits.memory_mib, limits.cpu_share) == (processes, memory_mib, None)

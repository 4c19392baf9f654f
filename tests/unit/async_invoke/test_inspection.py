"""What is queued, shown, dropped and hastened."""

import asyncio

import pytest

from lambent.model.errors import InvalidParameterValue, NeighbourRefusal, Throttled, ThrottleReason
from lambent.model.ids import Scope

from .conftest import FAILURE, SCOPE, SUCCESS, settle

pytestmark = pytest.mark.anyio
BUCKET = "arn:aws:s3:::bucket"


async def rows(scene, scope=SCOPE):
    return (await scene.invocation.inspection.list_queues(scope, {}))["queues"]


async def test_a_queue_is_shown_with_its_counts_and_what_it_waits_for(scene):
    scene.road.answers = [FAILURE]
    async with scene.running():
        await scene.accept()
        await scene.advance(10)
        (row,) = await rows(scene)
    assert row == {
        "function": "fn", "kind": "events", "visible": 0, "in_flight": 0, "delayed": 1, "oldest_age_s": 10,
        "waits_for": "the time of its next try",
    }  # fmt: skip
    assert await rows(scene, Scope("222222222222", "us-east-1")) == []


async def test_a_function_that_is_throttled_is_shown_at_rest(scene):
    scene.road.answers = [Throttled(ThrottleReason.CONCURRENT)]
    async with scene.running():
        for n in range(30):
            await scene.accept(n=n)
        await settle()
        (row,) = await rows(scene)
    assert row["waits_for"].endswith("s of rest: its items were refused")


async def test_purged_events_never_run_and_are_counted(scene):
    for n in range(3):
        await scene.accept(n=n)
    assert await scene.invocation.inspection.purge(SCOPE, {"function": "fn"}) == {"purged": 3}
    async with scene.running():
        await settle()
    assert (scene.tries, scene.metrics.of("AsyncEventsDropped")) == (0, [3])


async def test_an_event_that_is_purged_while_it_runs_ends_with_its_try(scene):
    event = asyncio.Event()
    scene.road.answers = [event]
    async with scene.running():
        await scene.accept()
        await settle()
        assert await scene.invocation.inspection.purge(SCOPE, {"function": "fn"}) == {"purged": 1}
        event.set()
        await scene.advance(100)
    assert scene.tries == 1


async def test_a_redriven_event_is_tried_at_once(scene):
    scene.road.answers = [FAILURE, SUCCESS]
    async with scene.running():
        await scene.accept()
        await settle()
        assert await scene.invocation.inspection.redrive(SCOPE, {"function": "fn"}) == {"redriven": 1}
        await settle()
        assert scene.tries == 2


async def test_a_queue_at_rest_is_redriven_too(scene):
    scene.road.answers = [Throttled(ThrottleReason.CONCURRENT)]
    async with scene.running():
        for n in range(20):
            await scene.accept(n=n)
        await scene.advance(100)
        scene.road.answers = [SUCCESS]
        await scene.invocation.inspection.redrive(SCOPE, {"function": "fn"})
        for _ in range(20):
            await settle()
        assert await rows(scene) == []


async def test_what_is_owed_is_shown_and_redriven_apart(scene):
    await scene.configure(on_success=BUCKET)
    scene.neighbours.refusals = [NeighbourRefusal("ServiceUnavailable", "away", is_passing=True)] * 3
    async with scene.running():
        await scene.accept()
        await scene.advance(3.5)
        (row,) = await rows(scene)
        assert (row["kind"], row["delayed"]) == ("deliveries", 1)
        await scene.invocation.inspection.redrive(SCOPE, {"function": "fn", "kind": "deliveries"})
        await settle()
        assert await rows(scene) == []


@pytest.mark.parametrize("members", [{}, {"function": ""}, {"function": "a/b"}, {"function": "fn", "kind": "all"}])
async def test_only_queues_of_functions_are_touched(scene, members):
    with pytest.raises(InvalidParameterValue):
        await scene.invocation.inspection.purge(SCOPE, members)

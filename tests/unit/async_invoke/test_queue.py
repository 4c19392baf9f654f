"""From a 202 to the end of an event, on a clock that stands still."""

import asyncio

import pytest

from lambent.async_invoke.acceptance import INVOKE_ASYNC_LIMIT_BYTES
from lambent.async_invoke.consumer import HELD_S
from lambent.async_invoke.shares import ShareLimits
from lambent.model.errors import HostError, RequestTooLarge, ResourceNotFound, Throttled, ThrottleReason
from lambent.model.ids import RequestId
from lambent.model.requests import Caller, RequestContext
from lambent.store.contract import Unavailable
from lambent.store.sqlite.engine import open_sqlite_store

from .conftest import FAILURE, SCOPE, SUCCESS, Scene, make_call, settle

pytestmark = pytest.mark.anyio
THROTTLED = Throttled(ThrottleReason.CONCURRENT)


async def depth(scene, name="fn"):
    return await scene.store.queue.depth(f"async/111111111111/us-east-1/{name}")


async def is_empty(scene):
    found = await depth(scene)
    return not (found.visible or found.in_flight or found.delayed)


async def test_an_accepted_event_runs_once_as_its_caller_sent_it(scene):
    async with scene.running():
        await scene.accept(b'{"a":1}', n=7, client_context='{"x":1}')
        await settle()
        (call,) = scene.road.calls
    sent = make_call(b'{"a":1}', n=7)
    assert (call.request_id, call.payload, call.target) == (sent.request_id, sent.payload, sent.target)
    assert (call.trace_header, call.client_context, call.caller_arn) == (sent.trace_header, None, "")
    assert await is_empty(scene)
    assert scene.metrics.values == [("AsyncEventsReceived", 1), ("AsyncEventAge", 0)]


async def test_an_event_is_durable_before_it_is_accepted(scene):
    await scene.accept()
    assert (await depth(scene)).visible == 1


async def test_an_event_of_a_function_that_is_not_there_is_refused_at_once(scene):
    with pytest.raises(ResourceNotFound):
        await scene.accept(name="other")
    assert await scene.store.queue.names("") == []


async def test_an_event_is_refused_when_the_store_cannot_keep_it(scene):
    async def enqueue(queue, *messages):
        raise Unavailable("full")

    scene.store.queue.enqueue = enqueue
    with pytest.raises(Unavailable):
        await scene.accept()
    assert scene.metrics.values == []


async def test_a_failing_event_is_tried_after_one_and_two_minutes_under_one_request_id(scene):
    scene.road.answers = [FAILURE]
    async with scene.running():
        await scene.accept()
        await settle()
        seen = [scene.tries]
        for seconds in (59, 1, 119, 1, 100_000):
            await scene.advance(seconds)
            seen.append(scene.tries)
    assert seen == [1, 1, 2, 2, 3, 3]
    assert len({call.request_id for call in scene.road.calls}) == 1
    assert await is_empty(scene)
    assert scene.metrics.of("AsyncEventsDropped") == [1]
    assert scene.metrics.of("AsyncEventAge") == [0, 60_000, 180_000]


async def test_a_second_try_that_succeeds_is_the_last(scene):
    scene.road.answers = [FAILURE, SUCCESS]
    async with scene.running():
        await scene.accept()
        await scene.advance(100_000)
    assert scene.tries == 2
    assert scene.metrics.of("AsyncEventsDropped") == []


async def test_the_configuration_of_the_qualifier_as_invoked_counts(scene):
    scene.road.answers = [FAILURE]
    await scene.configure("live", max_retries=0)
    async with scene.running():
        await scene.accept(qualifier="live", n=1)
        await scene.accept(n=2)
        await scene.advance(100_000)
    assert [call.target.qualifier for call in scene.road.calls].count("live") == 1
    assert scene.tries == 4


async def test_an_event_that_is_too_old_for_a_retry_is_given_up_at_once(scene):
    scene.road.answers = [FAILURE]
    await scene.configure(max_age_s=59)
    async with scene.running():
        await scene.accept()
        await scene.advance(0.5)
        assert await is_empty(scene)
    assert scene.tries == 1


async def test_a_throttled_event_is_tried_again_for_six_hours_at_most(scene):
    scene.road.answers = [THROTTLED]
    async with scene.running():
        await scene.accept()
        await scene.advance(30)
        assert scene.tries == 5  # at 0, 1, 3, 7, 15 s
        await scene.advance(21_600)
        assert await is_empty(scene)
        tries = scene.tries
        await scene.advance(21_600)
    assert 70 < scene.tries == tries < 90
    assert scene.metrics.of("AsyncEventsDropped") == [1]
    assert scene.metrics.of("AsyncEventAge") == []


async def test_throttles_and_failures_of_this_host_use_up_no_retry(scene):
    scene.road.answers = [THROTTLED, HostError("disk"), FAILURE, THROTTLED, FAILURE, HostError("x"), FAILURE, FAILURE]
    async with scene.running():
        await scene.accept()
        await scene.advance(100_000)
    assert scene.tries == 7


async def test_reserved_concurrency_of_zero_ends_an_event_without_a_try(scene):
    scene.add_function("fn", reserved=0)
    async with scene.running():
        await scene.accept()
        await settle()
        assert await is_empty(scene)
    assert scene.tries == 0
    assert scene.metrics.of("AsyncEventsDropped") == [1]


async def test_events_of_a_function_deleted_meanwhile_are_dropped(scene):
    scene.road.answers = [FAILURE]
    async with scene.running():
        await scene.accept()
        await settle()
        scene.road.versions.clear()
        await scene.advance(60)
        assert await is_empty(scene)
    assert scene.tries == 1
    assert scene.metrics.of("AsyncEventsDropped") == [1]


async def test_a_restart_between_tries_goes_on_with_the_next_try_at_its_time(scene):
    scene.road.answers = [FAILURE, SUCCESS]
    async with scene.running():
        await scene.accept(n=3)
        await settle()
    await scene.clock.advance_s(30)
    scene.invocation = scene.make()
    async with scene.running():
        await scene.advance(29)
        assert scene.tries == 1
        await scene.advance(1)
        assert scene.tries == 2
    assert len({call.request_id for call in scene.road.calls}) == 1


async def test_an_orderly_stop_waits_for_tries_and_gives_back_those_that_take_too_long(scene):
    quick, slow = asyncio.Event(), asyncio.Event()
    scene.road.answers = [quick, slow, SUCCESS]
    running = scene.invocation.running(10)
    await running.__aenter__()
    await scene.accept(n=1)
    await scene.accept(n=2)
    await settle()
    stopping = asyncio.ensure_future(running.__aexit__(None, None, None))
    await settle()
    await scene.accept(n=3)
    quick.set()
    await settle()
    assert not stopping.done()
    await scene.advance(10)
    await stopping
    assert scene.tries == 2
    assert (await depth(scene)).visible == 2
    scene.invocation = scene.make()
    async with scene.running():
        await settle()
    assert [call.request_id[-1] for call in scene.road.calls] == ["1", "2", "2", "3"]


async def test_an_event_whose_try_takes_long_is_not_given_to_anybody_else(scene):
    long = asyncio.Event()
    scene.road.answers = [long]
    async with scene.running():
        await scene.accept()
        for _ in range(90):
            await scene.advance(10)
        assert scene.tries == 1
        long.set()
        await settle()
        assert await is_empty(scene)


async def test_an_event_of_a_server_that_died_comes_again_within_a_minute(scene):
    await scene.accept()
    await scene.store.queue.receive("async/111111111111/us-east-1/fn", limit=1, visible_after_s=HELD_S, wait_s=0)
    async with scene.running():
        await scene.advance(59)
        assert scene.tries == 0
        await scene.advance(2)
        assert scene.tries == 1


async def test_slow_events_of_one_function_do_not_keep_another_waiting(scene):
    never = asyncio.Event()
    scene.add_function("quick")
    scene.limits = ShareLimits(total=10, own=2, first_window=10)
    scene.invocation = scene.make()
    scene.road.answers = [lambda call: never if call.target.name == "fn" else SUCCESS]
    async with scene.running():
        for n in range(40):
            await scene.accept(n=n)
        await settle()
        assert scene.road.running == 10
        for n in range(20):
            await scene.accept(name="quick", n=n)
            await settle()
        assert [call.target.name for call in scene.road.calls].count("quick") == 20


async def test_a_throttled_function_does_not_keep_another_waiting(scene):
    scene.add_function("quick")
    scene.road.answers = [lambda call: THROTTLED if call.target.name == "fn" else SUCCESS]
    async with scene.running():
        for n in range(200):
            await scene.accept(n=n)
        await settle()
        refused = scene.tries
        assert refused < 40  # it is left alone for a while, not asked two hundred times
        await scene.accept(name="quick")
        await settle()
        assert scene.tries == refused + 1


async def test_all_of_a_long_queue_runs_with_few_in_hand(scene):
    async with scene.running():
        for n in range(2000):
            await scene.accept(n=n)
        for _ in range(400):
            await settle()
        assert scene.tries == 2000
    assert scene.road.most <= scene.limits.total
    assert await is_empty(scene)


async def test_a_queue_that_is_empty_for_long_is_forgotten_and_found_again(scene):
    async with scene.running():
        await scene.accept()
        await scene.advance(601)
        assert scene.invocation._events._feeders == {}
        await scene.accept()
        await settle()
        assert scene.tries == 2


async def test_a_defect_of_ours_loses_no_event(scene):
    scene.road.answers = [RuntimeError("a defect"), SUCCESS]
    async with scene.running():
        await scene.accept()
        await scene.advance(61)
    assert scene.tries == 2


async def test_a_store_that_fails_for_a_while_loses_no_event(scene):
    receive, ack = scene.store.queue.receive, scene.store.queue.ack
    fails = [2, 1]

    async def broken_receive(*args, **options):
        if fails[0]:
            fails[0] -= 1
            raise Unavailable("busy")
        return await receive(*args, **options)

    async def broken_ack(*deliveries):
        if fails[1]:
            fails[1] -= 1
            raise Unavailable("busy")
        await ack(*deliveries)

    scene.store.queue.receive, scene.store.queue.ack = broken_receive, broken_ack
    async with scene.running():
        await scene.accept()
        await scene.advance(3)
        assert scene.tries == 1
        await scene.advance(61)
    assert scene.tries == 2  # it could not be acknowledged, so it came again
    assert await is_empty(scene)


def context():
    return RequestContext(SCOPE, RequestId("00000000-0000-4000-8000-000000000009"), Caller("111111111111", "arn:a:b"))


async def test_the_older_operation_takes_events_up_to_256_kb(scene):
    command = scene.invocation.commands()["InvokeAsync"]
    assert await command(context(), {"FunctionName": "fn", "InvokeArgs": b'{"a":1}'}) == {"Status": 202}
    with pytest.raises(RequestTooLarge):
        await command(context(), {"FunctionName": "fn", "InvokeArgs": b" " * (INVOKE_ASYNC_LIMIT_BYTES + 1)})
    async with scene.running():
        await settle()
    (call,) = scene.road.calls
    assert (call.payload, call.trace_header) == (b'{"a":1}', None)


async def test_the_same_events_run_from_a_store_on_disk(tmp_path):
    scene = Scene()
    async with open_sqlite_store(tmp_path / "state", clock=scene.clock, stream_limit_bytes=1 << 20) as store:
        scene.store = store
        scene.invocation = scene.make()
        async with scene.running():
            await asyncio.gather(*(scene.accept(n=n) for n in range(300)))
            async with asyncio.timeout(20):
                while scene.tries < 300 or not await is_empty(scene):
                    await settle()
    assert len({call.request_id for call in scene.road.calls}) == 300

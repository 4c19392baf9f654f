"""What a warm invocation takes of the server, in counts: the same on every machine, however busy it is."""

import asyncio

import pytest
from benchmarks.road import count_calls, open_road, request

pytestmark = pytest.mark.anyio

# Functions that one warm, signed invocation calls, Python's and C's, both ends of the wire included. It is what was
# measured and a little: who adds to the road pays by taking away elsewhere, or raises it knowingly. What timers add
# now and then (logs and records on their way) is not in the least of many counts.
CALLS_LIMIT = 690


@pytest.fixture
async def road():
    async with open_road() as road:
        for _ in range(50):
            await road.invoke(request())
        yield road


async def test_a_warm_invocation_calls_no_more_functions_than_it_did(road):
    counts = [await count_calls(road, 5) for _ in range(20)]
    assert min(counts) <= CALLS_LIMIT


async def test_every_hop_is_one_write(road):
    (runtime,) = road.sandboxes.runtimes
    client_before, runtime_before = road.wire.writes, runtime.wire.writes
    for _ in range(20):
        await road.invoke(request())
    assert road.wire.writes - client_before == 20
    assert runtime.wire.writes - runtime_before == 40  # the receipt of the result, and the next event


async def test_a_warm_invocation_starts_one_task_at_most(road):
    names = []

    def make(loop, coroutine, **options):
        task = asyncio.Task(coroutine, loop=loop, **options)
        names.append(task.get_name())
        return task

    loop = asyncio.get_running_loop()
    loop.set_task_factory(make)
    try:
        for _ in range(20):
            await road.invoke(request())
    finally:
        loop.set_task_factory(None)
    assert len([name for name in names if name != "log batch"]) <= 20


async def test_log_events_of_many_invocations_are_one_batch(road):
    names = []
    loop = asyncio.get_running_loop()

    def make(loop, coroutine, **options):
        task = asyncio.Task(coroutine, loop=loop, **options)
        names.append(task.get_name())
        return task

    loop.set_task_factory(make)
    try:
        for _ in range(50):
            await road.invoke(request())
    finally:
        loop.set_task_factory(None)
    assert names.count("log batch") <= 10


async def test_calls_one_after_the_other_share_one_environment(road):
    for _ in range(20):
        answer = await road.invoke(request())
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b'{"key1": "value1", "key2": "value2"}')
    assert len(road.sandboxes.runtimes) == 1

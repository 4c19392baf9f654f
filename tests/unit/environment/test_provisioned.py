"""Environments made ahead of calls: as many as asked for, replaced, never in an invocation's INIT."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from lambent.environment.provisioned import INIT_FAILURE, Kept, ProvisionedKeeper
from lambent.model.functions import PROVISIONED
from lambent.testing.recording_driver import ProgramExit

pytestmark = pytest.mark.anyio


@pytest.fixture
def version(kit):
    return replace(kit.VERSION, version="1")


@asynccontextmanager
async def open_keeper(pool, world, max_age_s=1000.0):
    keeper = ProvisionedKeeper(pool, world.clock, max_age_s=max_age_s)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(keeper.run())
        yield keeper
        running.cancel()


@asynccontextmanager
async def open_filled(kit, world, version, count, **limits):
    """Yield a pool and its keeper with ``count`` environments of ``version`` there."""
    async with kit.many_environments(world, **limits) as pool, open_keeper(pool, world) as keeper:
        keeper.keep({version.arn: (version, count)})
        await kit.eventually(lambda: keeper.find(version.arn) == Kept(count, is_open=True))
        yield pool, keeper


async def invoke(kit, pool, version, payload=b"{}"):
    """Run one call as the road does; return its environment, None where it has to spill over."""
    if (taken := await pool.take_provisioned(version)) is None:
        return None
    environment, at = taken
    await environment.run(kit.make_call(payload=payload))
    pool.give_back(environment, at)
    return environment


def inits(world):
    return [value for log in world.logs for kind, value in log.entries if kind == "init_started"]


async def test_as_many_as_asked_for_are_initialised_before_any_call(kit, version):
    world = kit.make_world()
    async with open_filled(kit, world, version, 6) as (pool, _):
        assert pool.count == 6
        assert pool.idle_count == 0  # they are no reserve that others may evict
        assert [each.initialization_type for each in inits(world)] == [PROVISIONED] * 6


async def test_callers_up_to_the_count_never_wait_for_an_init(kit, version):
    world = kit.make_world()
    async with open_filled(kit, world, version, 4) as (pool, _):

        async def caller():
            return [await invoke(kit, pool, version) for _ in range(50)]

        used = await asyncio.gather(*(caller() for _ in range(4)))
        assert None not in {environment for each in used for environment in each}
        assert len(inits(world)) == 4
        assert all(record.init_duration_ms is None for record in world.records)


async def test_a_call_beyond_the_count_spills_over(kit, version):
    gate = asyncio.Event()

    async def slow(runtime):
        while True:
            event = await runtime.next()
            await gate.wait()
            await runtime.respond(event, event.body)

    world = kit.make_world(slow)
    async with open_filled(kit, world, version, 1) as (pool, _):
        first = asyncio.ensure_future(invoke(kit, pool, version))
        await kit.eventually(lambda: pool.take_provisioned_now(version) is None)
        assert await invoke(kit, pool, version) is None
        gate.set()
        await first


async def test_nothing_is_used_before_all_are_there(kit, version):
    gate, started = asyncio.Event(), []

    async def script(runtime):
        started.append(runtime)
        if len(started) > 1:
            await gate.wait()
        await kit.echo(runtime)

    world = kit.make_world(script)
    async with kit.many_environments(world) as pool, open_keeper(pool, world) as keeper:
        keeper.keep({version.arn: (version, 2)})
        await kit.eventually(lambda: len(started) == 2)
        assert not pool.is_provisioned(version)
        assert await pool.take_provisioned(version) is None
        gate.set()
        await kit.eventually(lambda: pool.is_provisioned(version))


async def test_one_that_crashed_is_replaced_ahead_of_the_next_call(kit, version):
    async def script(runtime):
        event = await runtime.next()
        if event.body == b"die":
            raise ProgramExit(1)
        await runtime.respond(event, event.body)
        await kit.echo(runtime)

    world = kit.make_world(script)
    async with open_filled(kit, world, version, 2) as (pool, keeper):
        crashed = await invoke(kit, pool, version, b"die")
        await kit.eventually(lambda: len(inits(world)) == 3 and keeper.find(version.arn).ready == 2)
        for _ in range(10):
            assert await invoke(kit, pool, version) not in (None, crashed)
        assert len(inits(world)) == 3


async def test_fewer_are_kept_when_fewer_are_asked_for_and_none_when_it_is_over(kit, version):
    world = kit.make_world()
    async with open_filled(kit, world, version, 3) as (pool, keeper):
        keeper.keep({version.arn: (version, 1)})
        await kit.eventually(lambda: pool.count == 1)
        assert await invoke(kit, pool, version) is not None
        keeper.keep({})
        await kit.eventually(lambda: pool.count == 0)
        assert keeper.find(version.arn) == Kept()
        assert not pool.is_provisioned(version)


async def test_a_failing_init_is_told_and_tried_again(kit, version):
    fails = True

    async def script(runtime):
        if fails:
            raise ProgramExit(1)
        await kit.echo(runtime)

    world = kit.make_world(script)
    async with kit.many_environments(world) as pool, open_keeper(pool, world) as keeper:
        keeper.keep({version.arn: (version, 1)})
        await kit.eventually(lambda: keeper.find(version.arn) == Kept(0, failure=INIT_FAILURE))
        fails = False
        await kit.eventually(lambda: world.clock.sleeping)
        await world.clock.advance_s(1.0)
        await kit.eventually(lambda: keeper.find(version.arn) == Kept(1, is_open=True))


async def test_more_than_this_host_has_room_for_is_told(kit, version):
    world = kit.make_world()
    async with kit.many_environments(world, max_environments=2) as pool, open_keeper(pool, world) as keeper:
        keeper.keep({version.arn: (version, 3)})
        await kit.eventually(lambda: keeper.find(version.arn).ready == 2)
        assert "no room" in keeper.find(version.arn).failure


async def test_an_old_one_is_replaced_by_a_younger_one_that_is_there_before(kit, version):
    world = kit.make_world()
    async with open_filled(kit, world, version, 1) as (pool, _):
        old = await invoke(kit, pool, version)
        for _ in range(101):
            await kit.eventually(lambda: world.clock.sleeping)
            await world.clock.advance_s(10.0)
        await kit.eventually(lambda: len(inits(world)) == 2 and pool.count == 1)
        assert await invoke(kit, pool, version) not in (None, old)

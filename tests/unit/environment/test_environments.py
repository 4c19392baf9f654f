"""The pool: who is reused, who is started, who is ended, and that nothing is lost or left."""

import asyncio
from dataclasses import replace

import pytest

from lambent.model.errors import HostError, Throttled, ThrottleReason
from lambent.model.ids import FunctionArn
from lambent.model.phases import Phase
from lambent.sandbox.host_memory import MemoryReading
from lambent.testing.recording_driver import ProgramExit

pytestmark = pytest.mark.anyio


async def invoke(kit, pool, version=None, **changes):
    call = kit.make_call(**changes)
    async with asyncio.timeout(10):
        async with pool.take(version or kit.VERSION, call) as environment:
            result = await environment.run(call)
    return result, environment


async def settle(kit, *environments):
    await kit.eventually(lambda: all(each.is_settled for each in environments))


class Gates:
    """A runtime that answers when it is let, one gate a payload."""

    def __init__(self):
        self.events = {}
        self.arrived = []

    def __getitem__(self, name):
        return self.events.setdefault(name, asyncio.Event())

    async def script(self, runtime):
        while True:
            event = await runtime.next()
            self.arrived.append(event.body)
            await asyncio.wait_for(self[event.body].wait(), 10)
            await runtime.respond(event, event.body)


async def test_the_environment_used_last_is_used_next(kit):
    gates = Gates()
    world = kit.make_world(gates.script)
    async with kit.many_environments(world) as pool:
        first = asyncio.get_running_loop().create_task(invoke(kit, pool, payload=b"1"))
        await kit.eventually(lambda: b"1" in gates.arrived)
        second = asyncio.get_running_loop().create_task(invoke(kit, pool, payload=b"2"))
        await kit.eventually(lambda: b"2" in gates.arrived)
        gates[b"2"].set()
        _, newer = await second
        await settle(kit, newer)
        gates[b"1"].set()
        _, older = await first
        await settle(kit, older)
        assert pool.idle_count == 2
        gates[b"3"].set()
        _, again = await invoke(kit, pool, payload=b"3")
        assert again is older  # it became idle last
        assert again is not newer


async def test_caller_who_calls_one_after_the_other_gets_one_environment(kit):
    world = kit.make_world()
    async with kit.many_environments(world) as pool:
        used = {(await invoke(kit, pool))[1] for _ in range(200)}
        assert len(used) == 1
        assert pool.count == 1


async def test_slow_settling_is_not_waited_for_beyond_the_grace(kit):
    async def lingers(runtime):
        event = await runtime.next()
        await runtime.respond(event, b"1")
        await asyncio.wait_for(gate.wait(), 10)
        await runtime.next()

    gate = asyncio.Event()
    world = kit.make_world(lingers)
    async with kit.many_environments(world) as pool:
        _, first = await invoke(kit, pool)
        second = asyncio.get_running_loop().create_task(invoke(kit, pool))
        await kit.eventually(lambda: any(each.waiters for each in pool._pools.values()))
        assert pool.count == 1
        await world.clock.advance_s(0.05)
        await kit.eventually(lambda: pool.count == 2)
        _, other = await second
        assert other is not first
        gate.set()


async def test_idle_environment_is_ended_after_its_time(kit):
    world = kit.make_world()
    async with kit.many_environments(world, idle_s=600.0) as pool:
        _, environment = await invoke(kit, pool)
        await settle(kit, environment)
        await world.clock.advance_s(300)
        await settle(kit, (await invoke(kit, pool))[1])
        await world.clock.advance_s(599)
        assert pool.count == 1
        await world.clock.advance_s(2)
        await kit.eventually(lambda: pool.count == 0)
        assert environment.phase is Phase.GONE
        assert (world.driver.open_count, pool.reserved_mib, pool._pools) == (0, 0, {})


async def test_old_environment_is_not_used_again(kit):
    world = kit.make_world()
    async with kit.many_environments(world, max_age_s=100.0, idle_s=1000.0) as pool:
        _, first = await invoke(kit, pool)
        await settle(kit, first)
        await world.clock.advance_s(101)
        _, same = await invoke(kit, pool)
        assert same is first  # a call is never refused for age; afterwards it ends
        await kit.eventually(lambda: first.phase is Phase.GONE)
        _, fresh = await invoke(kit, pool)
        assert fresh is not first


async def test_replaced_generation_ends_when_idle_and_when_it_becomes_idle(kit):
    gates = Gates()
    world = kit.make_world(gates.script)
    newer = replace(kit.VERSION, generation=2)
    async with kit.many_environments(world) as pool:
        gates[b"1"].set()
        _, idle = await invoke(kit, pool, payload=b"1")
        await settle(kit, idle)
        busy_call = asyncio.get_running_loop().create_task(invoke(kit, pool, payload=b"2"))
        await kit.eventually(lambda: b"2" in gates.arrived)
        other = asyncio.get_running_loop().create_task(invoke(kit, pool, payload=b"1"))
        _, second_idle = await other
        await settle(kit, second_idle)
        pool.retire_outdated(kit.VERSION.arn, 2)
        await kit.eventually(lambda: second_idle.phase is Phase.GONE)
        gates[b"3"].set()
        _, fresh = await invoke(kit, pool, newer, payload=b"3")
        assert fresh.version is newer
        gates[b"2"].set()
        result, busy = await busy_call
        assert result.payload == b"2"
        await kit.eventually(lambda: busy.phase is Phase.GONE)
        await settle(kit, fresh)
        assert (pool.count, pool.idle_count) == (1, 1)
        pool.retire_outdated(FunctionArn("arn:other"), None)
        assert pool.idle_count == 1
        pool.retire_outdated(kit.VERSION.arn, None)
        await kit.eventually(lambda: pool.count == 0)


async def test_full_host_ends_what_was_idle_longest(kit):
    world = kit.make_world()
    versions = [replace(kit.VERSION, name=f"fn{number}") for number in range(3)]
    async with kit.many_environments(world, max_environments=2) as pool:
        for version in versions[:2]:
            await settle(kit, (await invoke(kit, pool, version))[1])
        await settle(kit, (await invoke(kit, pool, versions[0]))[1])
        await settle(kit, (await invoke(kit, pool, versions[2]))[1])
        names = {each.version.name for each in pool._tasks}
        assert names == {"fn0", "fn2"}


async def test_memory_budget_holds_while_an_environment_is_ended_for_another(kit):
    world = kit.make_world()  # where every environment uses 42 MiB
    big = replace(kit.VERSION, name="big", memory_mib=1024)
    async with kit.many_environments(world, memory_budget_mib=256) as pool:
        for at in range(2):
            await settle(kit, (await invoke(kit, pool, replace(big, name=f"b{at}")))[1])
        assert pool.count == 1  # not seen yet, each of them may want a quarter of 1 GiB
        assert pool.reserved_mib == 42 + 42 // 4 + 8
        small = replace(kit.VERSION, name="small")  # 128 MiB until it is seen
        await settle(kit, (await invoke(kit, pool, small))[1])
        assert pool.count == 2
        assert pool.reserved_mib == 2 * (42 + 42 // 4 + 8)


async def test_environments_reserve_what_those_before_them_used_and_not_their_memory_size(kit):
    gates = Gates()
    world = kit.make_world(gates.script)
    large = replace(kit.VERSION, memory_mib=10_240)
    async with kit.many_environments(world, memory_budget_mib=4096) as pool:
        gates[b"first"].set()
        await settle(kit, (await invoke(kit, pool, large, payload=b"first"))[1])
        async with asyncio.TaskGroup() as group:
            for _ in range(40):
                group.create_task(invoke(kit, pool, large, payload=b"held"))
            await kit.eventually(lambda: gates.arrived.count(b"held") == 40)
            assert pool.reserved_mib == 40 * (42 + 42 // 4 + 8)
            gates[b"held"].set()
        await kit.eventually(lambda: pool.idle_count == 40)


async def test_nothing_is_started_into_memory_that_the_host_does_not_have(kit):
    world, available = kit.make_world(), [1000]
    async with kit.many_environments(
        world, memory_reserve_mib=500, read_memory=lambda: MemoryReading(2000, available[0])
    ) as pool:
        await settle(kit, (await invoke(kit, pool))[1])
        available[0] = 600
        with pytest.raises(Throttled):  # one idle that reserves 60 MiB does not make up for 156
            await invoke(kit, pool, replace(kit.VERSION, name="other", memory_mib=1024))
        assert pool.count == 1  # and so it is not ended either


async def test_idle_environments_are_ended_while_the_host_runs_out_of_memory(kit):
    world, available = kit.make_world(), [1000]
    async with kit.many_environments(
        world, memory_reserve_mib=500, read_memory=lambda: MemoryReading(2000, available[0])
    ) as pool:
        for at in range(3):
            await settle(kit, (await invoke(kit, pool, replace(kit.VERSION, name=f"fn{at}")))[1])
            await world.clock.advance_s(2)
        assert pool.count == 3
        available[0] = 480  # 20 MiB too little, and frozen each holds 12
        await world.clock.advance_s(1.1)
        await kit.eventually(lambda: pool.count == 1)
        assert {each.version.name for each in pool._tasks} == {"fn2"}
        available[0] = 600
        await world.clock.advance_s(5)
        assert pool.count == 1


async def test_what_was_seen_of_a_version_is_forgotten_with_it(kit):
    world = kit.make_world()
    async with kit.many_environments(world) as pool:
        await settle(kit, (await invoke(kit, pool))[1])
        assert pool._room._kinds
        pool.retire_outdated(kit.VERSION.arn, None)
        await kit.eventually(lambda: pool.count == 0)
        assert not pool._room._kinds


async def test_full_host_with_nothing_idle_throttles(kit):
    gates = Gates()
    world = kit.make_world(gates.script)
    async with kit.many_environments(world, max_environments=1) as pool:
        running = asyncio.get_running_loop().create_task(invoke(kit, pool, payload=b"1"))
        await kit.eventually(lambda: b"1" in gates.arrived)
        with pytest.raises(Throttled):
            await invoke(kit, pool, payload=b"2")
        gates[b"1"].set()
        await running


async def test_tenants_never_share_an_environment(kit):
    world = kit.make_world()
    version = replace(kit.VERSION, tenant_isolation=True)
    async with kit.many_environments(world) as pool:
        used = {}
        for tenant in ("a", "b", "a"):
            _, environment = await invoke(kit, pool, version, tenant_id=tenant)
            await settle(kit, environment)
            used.setdefault(tenant, set()).add(environment)
        assert len(used["a"]) == len(used["b"]) == 1
        assert not used["a"] & used["b"]


async def test_failure_to_make_an_environment_is_the_callers_and_leaves_room(kit):
    world = kit.make_world()
    async with kit.many_environments(world, max_environments=1) as pool:
        world.driver.failures.append(HostError("no disk"))
        with pytest.raises(HostError, match="no disk"):
            await invoke(kit, pool)
        assert (await invoke(kit, pool))[0].payload == b"{}"


async def test_broken_function_is_tried_again_in_its_environment(kit):
    async def never_starts(runtime):
        raise ProgramExit(1)

    world = kit.make_world(never_starts)
    async with kit.many_environments(world) as pool:
        for _ in range(3):
            result, environment = await invoke(kit, pool)
            assert result.function_error == "Unhandled"
            await settle(kit, environment)
        assert len(world.driver.sandboxes) == 1


async def test_stop_drains_what_runs_and_takes_nothing_new(kit):
    gates = Gates()
    world = kit.make_world(gates.script)
    pool_context = kit.many_environments(world)
    pool = await pool_context.__aenter__()
    gates[b"idle"].set()
    await settle(kit, (await invoke(kit, pool, payload=b"idle"))[1])
    running = asyncio.get_running_loop().create_task(invoke(kit, pool, payload=b"1"))
    await kit.eventually(lambda: b"1" in gates.arrived)
    stopping = asyncio.get_running_loop().create_task(pool_context.__aexit__(None, None, None))
    await kit.eventually(lambda: pool._is_closing)
    with pytest.raises(HostError, match="stopping"):
        await invoke(kit, pool, payload=b"2")
    gates[b"1"].set()
    assert (await running)[0].payload == b"1"
    await asyncio.wait_for(stopping, 10)
    assert (pool.count, world.driver.open_count, world.code.uses) == (0, 0, 0)


async def test_stop_ends_what_does_not_end_by_itself(kit):
    gates = Gates()
    world = kit.make_world(gates.script)
    version = replace(kit.VERSION, timeout_s=900)
    pool_context = kit.many_environments(world, drain_s=10.0)
    pool = await pool_context.__aenter__()
    running = asyncio.get_running_loop().create_task(invoke(kit, pool, version, payload=b"1"))
    await kit.eventually(lambda: b"1" in gates.arrived)
    stopping = asyncio.get_running_loop().create_task(pool_context.__aexit__(None, None, None))
    await kit.eventually(lambda: pool._is_closing and world.clock.sleeping)
    await world.clock.advance_s(11)
    await asyncio.wait_for(stopping, 10)
    with pytest.raises(HostError):
        await running
    assert (pool.count, world.driver.open_count) == (0, 0)


async def test_caller_who_leaves_while_an_environment_starts_costs_nothing(kit):
    async def slow(runtime):
        await asyncio.wait_for(gate.wait(), 10)
        await kit.echo(runtime)

    gate = asyncio.Event()
    world = kit.make_world(slow)
    async with kit.many_environments(world) as pool:
        running = asyncio.get_running_loop().create_task(invoke(kit, pool))
        await kit.eventually(lambda: ("start", 1) in world.driver.calls)
        running.cancel()
        await asyncio.wait((running,))
        gate.set()
        await kit.eventually(lambda: pool.count == 0)


async def test_settled_soon_tells_whether_an_answered_invocation_ended_in_time(kit):
    async def lingers(runtime):
        while True:
            event = await runtime.next()
            await runtime.respond(event, b"1")
            await asyncio.wait_for(gate.wait(), 10)

    gate = asyncio.Event()
    world = kit.make_world(lingers)
    async with kit.many_environments(world) as pool:
        assert not await pool.settled_soon(kit.VERSION, kit.make_call())
        await invoke(kit, pool)
        waiting = asyncio.get_running_loop().create_task(pool.settled_soon(kit.VERSION, kit.make_call()))
        await kit.eventually(lambda: pool._graces)
        await world.clock.advance_s(0.05)
        assert await waiting is False
        waiting = asyncio.get_running_loop().create_task(pool.settled_soon(kit.VERSION, kit.make_call()))
        await kit.eventually(lambda: any(each.watchers for each in pool._pools.values()))
        gate.set()
        assert await asyncio.wait_for(waiting, 10) is True


async def test_hundreds_of_calls_at_once_all_get_their_own_answer(kit):
    world = kit.make_world()
    async with kit.many_environments(world, max_environments=300) as pool:
        outcomes = await asyncio.gather(*(invoke(kit, pool, payload=str(at).encode()) for at in range(150)))
        assert [result.payload for result, _ in outcomes] == [str(at).encode() for at in range(150)]
        await kit.eventually(lambda: pool.idle_count == pool.count)
    assert len(world.records) == 150
    assert world.driver.open_count == 0


async def test_a_function_grows_no_faster_than_it_may(kit):
    gates = Gates()
    world = kit.make_world(gates.script)
    async with kit.many_environments(world, starts_at_once=2, starts_per_s=0.1) as pool:
        running = [asyncio.ensure_future(invoke(kit, pool, payload=b"%d" % number)) for number in range(2)]
        await kit.eventually(lambda: len(gates.arrived) == 2)
        with pytest.raises(Throttled) as raised:
            await invoke(kit, pool, payload=b"2")
        assert raised.value.reason is ThrottleReason.RATE
        other = kit.replace(kit.VERSION, name="other")
        gates[b"o"].set()
        await invoke(kit, pool, other, payload=b"o")
        await world.clock.advance_s(10)
        gates[b"2"].set()
        await invoke(kit, pool, payload=b"2")
        for number in range(2):
            gates[b"%d" % number].set()
        await asyncio.gather(*running)

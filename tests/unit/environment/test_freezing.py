"""Idle environments stand still: when they are frozen, when they are thawed, and what that costs a busy one."""

import pytest

from lambent.model.errors import HostError
from lambent.model.phases import Phase
from lambent.sandbox.driver import Refusal

pytestmark = pytest.mark.anyio
GRACE_S = 0.01


def asked(world):
    """What was asked of sandboxes that has to do with freezing, or with the end of their processes."""
    return [call[0] for call in world.driver.calls if call[0] in ("freeze", "thaw", "kill")]


async def run_and_settle(kit, environment):
    result = await environment.run(kit.make_call())
    await kit.eventually(lambda: environment.is_settled)
    return result


async def test_it_is_frozen_when_it_was_idle_for_a_grace_and_thawed_for_the_next_call(kit):
    world = kit.make_world()
    async with kit.one_environment(world) as environment:
        await run_and_settle(kit, environment)
        await world.clock.advance_s(GRACE_S * 0.9)
        assert asked(world) == []
        await world.clock.advance_s(GRACE_S * 1.2)
        assert (asked(world), environment.is_frozen, environment.phase) == (["freeze"], True, Phase.IDLE)
        await world.clock.advance_s(60)
        assert asked(world) == ["freeze"]
        assert (await run_and_settle(kit, environment)).payload == b"{}"
        assert (asked(world), environment.is_frozen) == (["freeze", "thaw"], False)
        await world.clock.advance_s(GRACE_S * 2.1)
        assert asked(world) == ["freeze", "thaw", "freeze"]


async def test_it_is_frozen_after_its_first_init_too(kit):
    world = kit.make_world()
    async with kit.one_environment(world) as environment:
        await world.clock.advance_s(GRACE_S * 2.1)
        assert environment.is_frozen


async def test_calls_that_come_within_the_grace_neither_freeze_nor_thaw(kit):
    world = kit.make_world()
    async with kit.one_environment(world) as environment:
        for _ in range(50):
            await run_and_settle(kit, environment)
            await world.clock.advance_s(GRACE_S * 0.9)
        assert asked(world) == []


async def test_one_that_is_used_often_is_soon_not_frozen_between_its_calls_and_again_when_it_rests(kit):
    world = kit.make_world()
    async with kit.one_environment(world) as environment:
        for _ in range(30):
            await run_and_settle(kit, environment)
            await world.clock.advance_s(0.05)
        assert asked(world).count("freeze") == 3  # after one, two and four looks; eight take longer than it rests
        await world.clock.advance_s(1)
        assert environment.is_frozen
        await run_and_settle(kit, environment)
        await world.clock.advance_s(GRACE_S * 2.1)
        assert environment.is_frozen  # it had stood for long, and starts over


async def test_one_that_runs_is_not_frozen(kit):
    async def slow(runtime):
        event = await runtime.next()
        await world.clock.sleep_s(2)
        await runtime.respond(event, event.body)
        await runtime.next()

    world = kit.make_world(slow)
    async with kit.one_environment(world) as environment:
        environment.begin(kit.make_call(), lambda outcome: None)
        await kit.eventually(lambda: world.clock.sleeping >= 2)
        await world.clock.advance_s(1)
        assert asked(world) == []
        await world.clock.advance_s(1)
        await kit.eventually(lambda: environment.is_settled)


async def test_one_scan_serves_all_and_none_is_left_when_all_stand(kit):
    world = kit.make_world()
    async with kit.many_environments(world, idle_s=600) as pool:
        taken = [pool.take(kit.VERSION, kit.make_call()) for _ in range(5)]
        environments = [await each.__aenter__() for each in taken]
        for each in taken:
            await each.__aexit__(None, None, None)
        await world.clock.advance_s(GRACE_S * 2.1)
        assert all(each.is_frozen for each in environments)
        assert world.clock.sleeping == 1  # until the oldest is to be ended, ten minutes from now


async def test_it_is_thawed_before_it_is_ended(kit):
    world = kit.make_world()
    async with kit.one_environment(world) as environment:
        await world.clock.advance_s(GRACE_S * 2.1)
        environment.retire()
        await kit.eventually(lambda: environment.phase is Phase.GONE)
    assert asked(world)[:3] == ["freeze", "thaw", "kill"]


@pytest.mark.parametrize("why", ["no freezer", "never"])
async def test_nothing_is_frozen_where_the_host_has_no_freezer_or_the_setting_says_never(why, kit):
    world = kit.make_world(grace_s=0 if why == "never" else GRACE_S)
    if why == "no freezer":
        world.driver.refusals = [Refusal("freeze", "no cgroup", "root")]
    async with kit.one_environment(world) as environment:
        await run_and_settle(kit, environment)
        await world.clock.advance_s(60)
        assert (asked(world), world.clock.sleeping) == ([], 0)


async def test_one_that_the_kernel_will_not_freeze_goes_on_as_it_is(kit, monkeypatch):
    world = kit.make_world()
    async with kit.one_environment(world) as environment:
        (sandbox,) = world.driver.sandboxes

        def refuse():
            raise HostError("the kernel refuses")

        monkeypatch.setattr(sandbox, "freeze", refuse)
        await world.clock.advance_s(GRACE_S * 2.1)
        assert not environment.is_frozen
        assert (await run_and_settle(kit, environment)).payload == b"{}"

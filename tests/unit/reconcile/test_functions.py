"""The reconciler with its tasks: prompt, restart-safe, one function's trouble is nobody else's."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from lambent.model.documents import (
    State,
    UpdateStatus,
    function_status_key,
    joined_status,
    render_function_status,
)
from lambent.model.errors import HostError, ResourceConflict, ResourceNotFound
from lambent.model.invocations import Target
from lambent.reconcile.settling import decide_live
from lambent.store.contract import Conflict, Unavailable, WatchLost

from .conftest import FIRST_CODE, SCOPE, SECOND_CODE, spec

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def running(*owned):
    """Run each of ``owned`` while the block runs."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each.run()) for each in owned]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


def is_ready(status):
    return status is not None and status.last_update_status is UpdateStatus.SUCCESSFUL


async def test_a_new_function_becomes_active(plant):
    async with running(plant.reconciler):
        await plant.write(spec())
        status = await plant.until(is_ready)
    assert (status.state, status.live_generation) == (State.ACTIVE, 10)
    assert status.runtime_version_arn == "arn:us-east-1:python3.13"
    assert plant.runtimes.tries == [("python3.13", "x86_64")]
    assert plant.trees.compiled == [(FIRST_CODE, "python3.13")]


async def test_every_step_has_a_revision_id_of_its_own(plant):
    key = await plant.write(spec())
    await plant.reconciler.reconcile_once(key)
    created = (await plant.find_status()).revision_id
    await plant.write(spec(generation=11, revision_id="of-the-update"))
    await plant.reconciler.reconcile_once(key)
    assert len({"of-the-spec", created, "of-the-update", (await plant.find_status()).revision_id}) == 4


async def test_a_settled_function_is_left_alone(plant):
    key = await plant.write(spec())
    assert await plant.reconciler.reconcile_once(key)
    before = await plant.documents.find(function_status_key(SCOPE, "f"))
    assert not await plant.reconciler.reconcile_once(key)
    await plant.write(spec(tags=(("a", "1"),)))
    assert not await plant.reconciler.reconcile_once(key)
    assert await plant.documents.find(function_status_key(SCOPE, "f")) == before


async def test_an_update_is_successful_only_when_the_data_plane_has_it(plant):
    key = await plant.write(spec())
    await plant.reconciler.reconcile_once(key)
    seen, go = [], asyncio.Event()

    async def visible(key, rev):
        seen.append(await plant.find_status())
        await go.wait()

    plant.visible = visible
    plant.reconciler = plant.make_reconciler()
    wanted = spec(generation=11, digest=SECOND_CODE)
    await plant.write(wanted)
    async with running(plant.reconciler):
        status = await plant.until(lambda status: status.live_generation == 11)
        assert joined_status(wanted, status).last_update_status is UpdateStatus.IN_PROGRESS
        go.set()
        await plant.until(is_ready)
    assert [status.live.code.digest for status in seen] == [SECOND_CODE]


async def test_the_view_of_the_data_plane_runs_the_old_code_until_the_new_is_ready(plant):
    plant.visible = plant.view.applied
    plant.reconciler = plant.make_reconciler()
    await plant.view.load()
    target = Target(SCOPE, "f")
    async with running(plant.view, plant.reconciler):
        await plant.write(spec())
        await plant.until(is_ready)
        assert plant.view.resolve(target).code == FIRST_CODE
        plant.trees.gate.clear()
        await plant.write(spec(generation=11, digest=SECOND_CODE))
        await plant.until(lambda status: plant.trees.at_work)
        assert plant.view.resolve(target).code == FIRST_CODE
        plant.trees.gate.set()
        await plant.until(lambda status: status.generation == 11 and is_ready(status))
        assert plant.view.resolve(target).code == SECOND_CODE
        await plant.delete()
        await plant.until(lambda status: status is None)
        with pytest.raises(ResourceNotFound):
            plant.view.resolve(target)


async def test_a_runtime_that_is_not_there_makes_the_function_failed_with_the_remedy(plant):
    plant.runtimes.missing.add("python3.13")
    await plant.reconciler.reconcile_once(await plant.write(spec()))
    status = await plant.find_status()
    assert (status.state, status.state_reason_code) == (State.FAILED, "InvalidRuntime")
    assert status.state_reason.endswith("Install it.")
    await plant.view.load()
    with pytest.raises(ResourceConflict):
        plant.view.resolve(Target(SCOPE, "f"))


async def test_a_failed_update_leaves_the_function_running_what_it_had(plant):
    await plant.reconciler.reconcile_once(await plant.write(spec()))
    plant.trees.broken[SECOND_CODE] = HostError("a stored package does not unpack")
    await plant.reconciler.reconcile_once(await plant.write(spec(generation=11, digest=SECOND_CODE)))
    status = await plant.find_status()
    assert (status.state, status.last_update_status) == (State.ACTIVE, UpdateStatus.FAILED)
    assert (status.last_update_status_reason_code, status.live.code.digest) == ("InternalError", FIRST_CODE)
    await plant.view.load()
    assert plant.view.resolve(Target(SCOPE, "f")).code == FIRST_CODE


async def test_a_function_gets_well_when_the_host_gets_its_runtime(plant):
    plant.runtimes.missing.add("python3.13")
    async with running(plant.reconciler):
        await plant.write(spec())
        first = await plant.until(lambda status: status is not None and status.state is State.FAILED)
        await plant.clock.advance_s(300)
        await plant.until(lambda status: len(plant.runtimes.tries) == 2)
        assert (await plant.find_status()).revision_id == first.revision_id
        plant.runtimes.missing.clear()
        await plant.clock.advance_s(300)
        await plant.until(is_ready)


async def test_a_restart_tries_again_what_failed_for_want_of_a_runtime(plant):
    plant.runtimes.missing.add("python3.13")
    await plant.reconciler.reconcile_once(await plant.write(spec()))
    plant.runtimes.missing.clear()
    async with running(plant.make_reconciler()):
        await plant.until(is_ready)


@pytest.mark.parametrize("is_half_done", [False, True])
async def test_a_restart_finishes_what_a_crash_interrupted(plant, is_half_done):
    wanted = spec()
    await plant.write(wanted)
    if is_half_done:
        half = render_function_status(decide_live(wanted, None))
        await plant.documents.put(function_status_key(SCOPE, "f"), half)
    async with running(plant.reconciler):
        assert (await plant.until(is_ready)).live_generation == 10


async def test_a_restart_forgets_functions_that_were_deleted_meanwhile(plant):
    await plant.reconciler.reconcile_once(await plant.write(spec()))
    await plant.delete()
    async with running(plant.make_reconciler()):
        await plant.until(lambda status: status is None)


async def test_a_function_deleted_while_it_is_made_ready_leaves_no_status(plant):
    plant.trees.gate.clear()
    async with running(plant.reconciler):
        await plant.write(spec())
        await plant.until(lambda status: plant.trees.at_work)
        await plant.delete()
        plant.trees.gate.set()
        await plant.until(lambda status: status is None and plant.shown)


async def test_a_function_made_again_under_its_name_becomes_active_anew(plant):
    async with running(plant.reconciler):
        await plant.write(spec())
        await plant.until(is_ready)
        await plant.delete()
        await plant.write(spec(generation=20, first_generation=20, digest=SECOND_CODE))
        status = await plant.until(lambda status: is_ready(status) and status.first_generation == 20)
    assert status.live.code.digest == SECOND_CODE


async def test_updates_that_come_while_one_is_made_ready_are_not_missed(plant):
    plant.trees.gate.clear()
    async with running(plant.reconciler):
        await plant.write(spec())
        await plant.until(lambda status: plant.trees.at_work)
        for generation in (11, 12, 13):
            await plant.write(spec(generation=generation))
        plant.trees.gate.set()
        assert (await plant.until(lambda status: is_ready(status) and status.generation == 13)).live_generation == 13


async def test_one_function_s_trouble_does_not_hold_up_another(plant):
    plant.trees.broken[FIRST_CODE] = RuntimeError("a defect of ours")
    async with running(plant.reconciler):
        await plant.write(spec("broken"))
        await plant.write(spec("damaged"))
        await plant.documents.put("spec/function/123456789012/us-east-1/damaged", {"schema": 99})
        await plant.write(spec("sound", digest=SECOND_CODE))
        await plant.until(is_ready, name="sound")
        del plant.trees.broken[FIRST_CODE]
        await plant.clock.advance_s(60)
        await plant.until(is_ready, name="broken")
        assert await plant.find_status("damaged") is None


async def test_the_store_s_own_trouble_is_tried_again_and_not_told_as_the_function_s(plant):
    plant.trees.broken[FIRST_CODE] = Unavailable("the disk is busy")
    async with running(plant.reconciler):
        await plant.write(spec())
        await plant.until(lambda status: plant.clock.sleeping >= 2)
        assert await plant.find_status() is None
        del plant.trees.broken[FIRST_CODE]
        await plant.clock.advance_s(1)
        await plant.until(is_ready)


async def test_bytecode_that_cannot_be_made_does_not_fail_a_function(plant):
    plant.trees.broken["bytecode", FIRST_CODE] = OSError("no space left")
    await plant.reconciler.reconcile_once(await plant.write(spec()))
    assert is_ready(await plant.find_status())


async def test_few_packages_are_unpacked_at_a_time(plant):
    plant.trees.gate.clear()
    async with running(plant.reconciler):
        for number in range(20):
            await plant.write(spec(f"f{number}"))
        await plant.until(lambda status: plant.trees.at_work == 4)
        plant.trees.gate.set()
        for number in range(20):
            await plant.until(is_ready, name=f"f{number}")
    assert plant.trees.most_at_work == 4


async def test_a_status_written_by_another_is_read_anew(plant):
    wanted = spec()
    key = await plant.write(wanted)
    put, quarrels = plant.documents.put, []

    async def put_late(key, value, **expect):
        if not quarrels:
            quarrels.append(key)
            await put(key, render_function_status(decide_live(wanted, None)))
            raise Conflict(key, None)
        return await put(key, value, **expect)

    plant.documents.put = put_late
    async with running(plant.reconciler):
        await plant.until(is_ready)
    assert quarrels == [function_status_key(SCOPE, "f")]
    assert key


async def test_a_lost_watch_is_begun_anew_without_a_gap(plant):
    watch, lost = plant.documents.watch, asyncio.Event()

    class Losing:
        def __aiter__(self):
            return self

        async def __anext__(self):
            await lost.wait()
            plant.documents.watch = watch
            raise WatchLost("too old")

    plant.documents.watch = lambda prefix, cursor: Losing()
    async with running(plant.reconciler):
        await asyncio.sleep(0)
        await plant.write(spec())
        lost.set()
        await plant.until(is_ready)

"""The view of functions: what is invocable, in AWS's words when it is not, and how soon a change is seen."""

import asyncio

import pytest

from lambent.model.errors import HostError, ResourceConflict, ResourceNotFound
from lambent.store.contract import WatchLost
from lambent.store.memory import MemoryStore
from lambent.testing.clock import FakeClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def documents():
    return MemoryStore(FakeClock()).documents


async def within(awaitable):
    async with asyncio.timeout(10):
        return await awaitable


async def test_active_function_resolves_to_its_live_snapshot(kit, documents):
    spec = kit.make_spec()
    await kit.put_spec(documents, spec)
    await kit.put_status(documents, "fn", kit.make_status(spec))
    async with kit.open_view(documents) as (view, _):
        version = view.resolve(kit.Target(kit.SCOPE, "fn"))
        assert (version.name, version.version, version.environment) == ("fn", "$LATEST", (("GENERATION", "1"),))
        assert view.resolve(kit.Target(kit.SCOPE, "fn", "$LATEST")) is version


@pytest.mark.parametrize(
    ("qualifier", "suffix"), [(None, ":$LATEST"), ("$LATEST", ":$LATEST"), ("7", ":7"), ("live", ":live")]
)
@pytest.mark.parametrize("exists", [False, True])
async def test_what_is_not_there_is_not_found_in_awss_words(kit, documents, qualifier, suffix, exists):
    if exists:
        if qualifier in (None, "$LATEST"):
            return
        await kit.put_spec(documents, kit.make_spec())
        await kit.put_status(documents, "fn", kit.make_status(kit.make_spec()))
    async with kit.open_view(documents) as (view, _):
        with pytest.raises(ResourceNotFound) as raised:
            view.resolve(kit.Target(kit.SCOPE, "fn", qualifier))
    assert raised.value.message == f"Function not found: {kit.ARN}{suffix}"


@pytest.mark.parametrize("state", ["Pending", "Failed"])
async def test_function_without_a_live_snapshot_says_its_state(kit, documents, state):
    await kit.put_spec(documents, kit.make_spec())
    await kit.put_status(documents, "fn", kit.make_status(None, kit.State(state)))
    async with kit.open_view(documents) as (view, _):
        with pytest.raises(ResourceConflict) as raised:
            view.resolve(kit.Target(kit.SCOPE, "fn"))
    assert raised.value.message == (
        f"The operation cannot be performed at this time. The function is currently in the following state: {state}"
    )


async def test_function_without_any_status_is_pending(kit, documents):
    await kit.put_spec(documents, kit.make_spec())
    async with kit.open_view(documents) as (view, _):
        with pytest.raises(ResourceConflict, match="following state: Pending"):
            view.resolve(kit.Target(kit.SCOPE, "fn"))


async def test_old_snapshot_serves_until_the_update_is_live(kit, documents):
    old, new = kit.make_spec(), kit.make_spec(generation=2, timeout_s=9)
    await kit.put_spec(documents, old)
    await kit.put_status(documents, "fn", kit.make_status(old))
    async with kit.open_view(documents) as (view, replaced):
        target = kit.Target(kit.SCOPE, "fn")
        assert view.resolve(target).generation == 1
        await within(view.applied(kit.spec_key(kit.SCOPE, "fn"), await kit.put_spec(documents, new)))
        assert view.resolve(target).generation == 1
        assert replaced == []
        rev = await kit.put_status(documents, "fn", kit.make_status(new, generation=2))
        await within(view.applied(kit.status_key(kit.SCOPE, "fn"), rev))
        assert (view.resolve(target).generation, view.resolve(target).timeout_s) == (2, 9)
        assert replaced == [(f"{kit.ARN}:$LATEST", 2)]


async def test_deleted_function_is_gone_and_its_environments_are_outdated(kit, documents):
    spec = kit.make_spec()
    await kit.put_spec(documents, spec)
    await kit.put_status(documents, "fn", kit.make_status(spec))
    async with kit.open_view(documents) as (view, replaced):
        view.resolve(kit.Target(kit.SCOPE, "fn"))
        rev = await documents.delete(kit.spec_key(kit.SCOPE, "fn"))
        await within(view.applied(kit.spec_key(kit.SCOPE, "fn"), rev))
        with pytest.raises(ResourceNotFound):
            view.resolve(kit.Target(kit.SCOPE, "fn"))
    assert replaced == [(f"{kit.ARN}:$LATEST", None)]


async def test_namesake_of_a_deleted_function_does_not_run_the_old_code(kit, documents):
    old = kit.make_spec()
    await kit.put_spec(documents, old)
    await kit.put_status(documents, "fn", kit.make_status(old))
    async with kit.open_view(documents) as (view, replaced):
        view.resolve(kit.Target(kit.SCOPE, "fn"))
        rev = await kit.put_spec(documents, kit.make_spec(generation=5, first_generation=5))
        await within(view.applied(kit.spec_key(kit.SCOPE, "fn"), rev))
        with pytest.raises(ResourceConflict, match="Pending"):
            view.resolve(kit.Target(kit.SCOPE, "fn"))
    assert replaced == [(f"{kit.ARN}:$LATEST", None)]


async def test_applied_waits_for_the_change_and_not_for_other_documents(kit, documents):
    async with kit.open_view(documents) as (view, _):
        await within(view.applied("spec/other/key", 99))
        waiting = asyncio.get_running_loop().create_task(view.applied(kit.spec_key(kit.SCOPE, "fn"), 1))
        await asyncio.sleep(0)
        assert not waiting.done()
        await kit.put_spec(documents, kit.make_spec())
        await within(waiting)


async def test_damaged_document_fails_its_function_alone(kit, documents):
    good, bad = kit.make_spec("good"), kit.make_spec("bad")
    for name, spec in (("good", good), ("bad", bad)):
        await kit.put_spec(documents, spec)
        await kit.put_status(documents, name, kit.make_status(spec))
    async with kit.open_view(documents) as (view, _):
        view.resolve(kit.Target(kit.SCOPE, "bad"))
        rev = await documents.put(kit.status_key(kit.SCOPE, "bad"), {"schema": 999})
        await within(view.applied(kit.status_key(kit.SCOPE, "bad"), rev))
        with pytest.raises(HostError):
            view.resolve(kit.Target(kit.SCOPE, "bad"))
        assert view.resolve(kit.Target(kit.SCOPE, "good")).name == "good"


async def test_thousands_of_functions_are_listed_page_by_page_and_parsed_on_demand(kit, documents):
    for number in range(1200):
        spec = kit.make_spec(f"fn{number}")
        await kit.put_spec(documents, spec)
        await kit.put_status(documents, spec.name, kit.make_status(spec))
    async with kit.open_view(documents) as (view, _):
        assert view.resolve(kit.Target(kit.SCOPE, "fn1199")).name == "fn1199"
        assert len(view._versions) == 1


async def test_lost_watch_is_followed_by_a_list_that_also_finds_deletions(kit, documents):
    class Forgetful:
        def __init__(self):
            self.lists, self.release, self.entered = 0, asyncio.Event(), asyncio.Event()

        async def list(self, prefix, *, after="", limit=1000):
            self.lists += 1
            return await documents.list(prefix, after=after, limit=limit)

        async def watch(self, prefix, cursor):
            if not self.release.is_set():
                self.entered.set()
                await self.release.wait()
                raise WatchLost("too old")
            async for change in documents.watch(prefix, cursor):
                yield change

    spec = kit.make_spec()
    await kit.put_spec(documents, spec)
    await kit.put_status(documents, "fn", kit.make_status(spec))
    forgetful = Forgetful()
    async with kit.open_view(forgetful) as (view, _):
        view.resolve(kit.Target(kit.SCOPE, "fn"))
        await within(forgetful.entered.wait())
        await documents.delete(kit.spec_key(kit.SCOPE, "fn"))
        rev = await kit.put_spec(documents, kit.make_spec("new"))
        forgetful.release.set()
        await within(view.applied(kit.spec_key(kit.SCOPE, "new"), rev))
        with pytest.raises(ResourceNotFound):
            view.resolve(kit.Target(kit.SCOPE, "fn"))
        assert forgetful.lists >= 3


async def put_version(kit, documents, number, generation, *, was_live=True, **changes):
    spec = kit.make_spec(
        generation=generation, publication=kit.Publication(number=number, was_live=was_live), **changes
    )
    return spec, await documents.put(spec.key, kit.render_spec(spec))


async def put_alias(kit, documents, version, *weights):
    alias = kit.AliasSpec(
        scope=kit.SCOPE,
        function="fn",
        name="live",
        first_generation=1,
        version=version,
        weights=weights,
        revision_id="a",
    )
    return alias.key, await documents.put(alias.key, kit.render_alias(alias))


async def test_version_is_its_own_snapshot_whatever_becomes_of_latest(kit, documents):
    await kit.put_spec(documents, kit.make_spec(generation=2, timeout_s=9))
    await kit.put_status(documents, "fn", kit.make_status(kit.make_spec(generation=2, timeout_s=9), generation=2))
    await put_version(kit, documents, 1, 1, timeout_s=5)
    async with kit.open_view(documents) as (view, replaced):
        version = view.resolve(kit.Target(kit.SCOPE, "fn", "1"))
        assert (version.version, version.timeout_s, version.arn) == ("1", 5, f"{kit.ARN}:1")
        assert view.resolve(kit.Target(kit.SCOPE, "fn")).timeout_s == 9
        rev = await kit.put_spec(documents, kit.make_spec(generation=3))
        await within(view.applied(kit.spec_key(kit.SCOPE, "fn"), rev))
        assert view.resolve(kit.Target(kit.SCOPE, "fn", "1")) is version
        assert replaced == []


async def test_version_made_with_its_function_is_pending_until_its_status_has_it(kit, documents):
    await kit.put_spec(documents, kit.make_spec())
    spec, _ = await put_version(kit, documents, 1, 1, was_live=False)
    async with kit.open_view(documents) as (view, _):
        with pytest.raises(ResourceConflict, match="following state: Pending"):
            view.resolve(kit.Target(kit.SCOPE, "fn", "1"))
        rev = await documents.put(spec.status_key, kit.render_status(kit.make_status(spec)))
        await within(view.applied(spec.status_key, rev))
        assert view.resolve(kit.Target(kit.SCOPE, "fn", "1")).version == "1"


async def test_deleted_version_is_gone_and_its_environments_are_outdated(kit, documents):
    await kit.put_spec(documents, kit.make_spec())
    spec, _ = await put_version(kit, documents, 1, 1)
    async with kit.open_view(documents) as (view, replaced):
        view.resolve(kit.Target(kit.SCOPE, "fn", "1"))
        await within(view.applied(spec.key, await documents.delete(spec.key)))
        with pytest.raises(ResourceNotFound, match=r":fn:1$"):
            view.resolve(kit.Target(kit.SCOPE, "fn", "1"))
    assert replaced == [(f"{kit.ARN}:1", None)]


async def test_version_that_a_namesake_left_behind_does_not_run(kit, documents):
    await kit.put_spec(documents, kit.make_spec(generation=7, first_generation=7))
    await put_version(kit, documents, 1, 1)
    async with kit.open_view(documents) as (view, _):
        with pytest.raises(ResourceNotFound):
            view.resolve(kit.Target(kit.SCOPE, "fn", "1"))


async def test_alias_runs_the_version_it_names_and_follows_when_it_moves(kit, documents):
    await kit.put_spec(documents, kit.make_spec())
    for number in (1, 2):
        await put_version(kit, documents, number, number)
    await put_alias(kit, documents, "1")
    async with kit.open_view(documents) as (view, replaced):
        target = kit.Target(kit.SCOPE, "fn", "live")
        assert view.resolve(target).version == "1"
        assert view.resolve(target) is view.resolve(kit.Target(kit.SCOPE, "fn", "1"))
        await within(view.applied(*await put_alias(kit, documents, "2")))
        assert view.resolve(target).version == "2"
        assert replaced == []


async def test_alias_with_weights_draws_for_each_call(kit, documents):
    await kit.put_spec(documents, kit.make_spec())
    for number in (1, 2):
        await put_version(kit, documents, number, number)
    await put_alias(kit, documents, "1", ("2", 0.25))
    draws = [0.0, 0.24, 0.25, 0.99]
    async with kit.open_view(documents, draw=lambda: draws.pop(0)) as (view, _):
        versions = [view.resolve(kit.Target(kit.SCOPE, "fn", "live")).version for _ in range(4)]
    assert versions == ["2", "2", "1", "1"]


@pytest.mark.parametrize("qualifier", ["01", "0", "9" * 100, "$LATEST.PUBLISHED"])
async def test_what_can_be_no_version_is_not_found(kit, documents, qualifier):
    await kit.put_spec(documents, kit.make_spec())
    await put_version(kit, documents, 1, 1)
    async with kit.open_view(documents) as (view, _):
        with pytest.raises(ResourceNotFound):
            view.resolve(kit.Target(kit.SCOPE, "fn", qualifier))


async def test_a_share_of_the_concurrency_is_seen_by_every_version_without_a_new_environment(kit, documents):
    await kit.put_spec(documents, kit.make_spec())
    await kit.put_status(documents, "fn", kit.make_status(kit.make_spec()))
    plans = []
    async with kit.open_view(documents, on_plan=plans.append) as (view, replaced):
        assert view.resolve(kit.Target(kit.SCOPE, "fn")).reserved_concurrency is None
        plan = kit.ConcurrencyPlan(scope=kit.SCOPE, reserved={"fn": 0})
        await within(view.applied(plan.key, await documents.put(plan.key, kit.render_plan(plan))))
        assert view.resolve(kit.Target(kit.SCOPE, "fn")).reserved_concurrency == 0
        assert (plans, replaced) == ([plan], [])
    async with kit.open_view(documents, on_plan=plans.append) as (view, _):
        assert view.resolve(kit.Target(kit.SCOPE, "fn")).reserved_concurrency == 0
        assert plans == [plan, plan]

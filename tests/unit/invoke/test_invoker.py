"""The one road: its order, its refusals, and that lease and environment come back."""

import asyncio
import re
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from lambent.invoke.access import FunctionPolicies
from lambent.invoke.concurrency import Concurrency
from lambent.invoke.invoker import Invoker
from lambent.invoke.records import WAITING_LIMIT, InvocationRecords
from lambent.invoke.trace import new_trace_header
from lambent.model.documents import function_version
from lambent.model.errors import AccessDenied, InvalidParameterValue, ResourceNotFound, Throttled, ThrottleReason
from lambent.model.invocations import InvocationResult
from lambent.testing.clock import FakeClock

pytestmark = pytest.mark.anyio


class Environment:
    """Answers at once; is settled when it is told."""

    def __init__(self):
        self.calls, self.callbacks, self.is_settled, self.gate = [], [], True, None

    def when_settled(self, callback):
        self.callbacks.append(callback)

    async def run(self, call):
        self.calls.append(call)
        self.is_settled = False
        if self.gate is not None:
            await self.gate.wait()
        return InvocationResult(payload=b"1", executed_version="$LATEST", trace_header=call.trace_header)

    def settle(self):
        self.is_settled = True
        for callback in self.callbacks:
            callback()
        self.callbacks.clear()


class Environments:
    def __init__(self):
        self.environment, self.taken, self.soon = Environment(), [], None
        self.ahead, self.given_back = [], []

    async def take_provisioned(self, version):
        return (self.ahead.pop(), "pool") if self.ahead else None

    def give_back(self, environment, pool):
        self.given_back.append(environment)

    @asynccontextmanager
    async def take(self, version, call):
        self.taken.append(version)
        yield self.environment

    async def settled_soon(self, version, call):
        if self.soon is None:
            return False
        self.soon()
        return True


class Functions:
    def __init__(self, version):
        self.version = version

    def resolve(self, target):
        if self.version is None:
            raise ResourceNotFound("Function not found: x")
        return self.version


@pytest.fixture
def version(kit):
    return function_version(kit.make_spec(), ())


def make_invoker(version, limit=1000):
    environments, concurrency = Environments(), Concurrency(limit)
    return (
        Invoker(FunctionPolicies(lambda target: ()), Functions(version), concurrency, environments, FakeClock()),
        environments,
        concurrency,
    )


async def test_a_call_reaches_the_environment_and_its_answer_the_caller(kit, version):
    invoker, environments, _ = make_invoker(version)
    result = await invoker.invoke(kit.make_call(b"7", trace_header="Root=1-2-3"))
    assert (result.payload, result.trace_header) == (b"1", "Root=1-2-3")
    assert environments.environment.calls[0].payload == b"7"


async def test_call_without_a_trace_header_gets_one(kit, version):
    invoker, _, _ = make_invoker(version)
    result = await invoker.invoke(kit.make_call())
    assert re.fullmatch(
        r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=0;Lineage=1:[0-9a-f]{8}:0", result.trace_header
    )


def test_every_trace_has_a_root_of_its_own(version):
    now = datetime(2026, 11, 23, tzinfo=UTC)
    assert len({new_trace_header(version, now) for _ in range(100)}) == 100


async def test_caller_of_another_account_is_refused_before_anything_is_looked_up(kit):
    invoker, environments, _ = make_invoker(None)
    caller = "arn:aws:iam::222222222222:user/stranger"
    with pytest.raises(AccessDenied) as raised:
        await invoker.invoke(kit.make_call(caller_arn=caller, qualifier="live"))
    assert raised.value.message == (
        f"User: {caller} is not authorized to perform: lambda:InvokeFunction on resource: {kit.ARN}:live "
        "because no resource-based policy allows the lambda:InvokeFunction action"
    )
    assert environments.taken == []


async def test_dry_run_checks_and_runs_nothing(kit, version):
    invoker, environments, concurrency = make_invoker(version, limit=0)
    result = await invoker.invoke(kit.make_call(is_dry_run=True))
    assert (result.payload, environments.taken, concurrency.in_flight(kit.SCOPE)) == (b"", [], 0)
    missing, _, _ = make_invoker(None)
    with pytest.raises(ResourceNotFound):
        await missing.invoke(kit.make_call(is_dry_run=True))


async def test_lease_is_held_until_the_environment_is_settled(kit, version):
    invoker, environments, concurrency = make_invoker(version, limit=1)
    await invoker.invoke(kit.make_call())
    assert concurrency.in_flight(kit.SCOPE) == 1
    with pytest.raises(Throttled) as raised:
        await invoker.invoke(kit.make_call())
    assert raised.value.reason is ThrottleReason.CONCURRENT
    environments.environment.settle()
    assert concurrency.in_flight(kit.SCOPE) == 0
    await invoker.invoke(kit.make_call())


async def test_caller_who_calls_one_after_the_other_is_not_throttled(kit, version):
    invoker, environments, concurrency = make_invoker(version, limit=1)
    environments.soon = environments.environment.settle
    for _ in range(3):
        await invoker.invoke(kit.make_call())
    assert concurrency.in_flight(kit.SCOPE) == 1


async def test_caller_who_leaves_gives_the_lease_back_when_the_function_is_done(kit, version):
    invoker, environments, concurrency = make_invoker(version)
    environments.environment.gate = asyncio.Event()
    running = asyncio.get_running_loop().create_task(invoker.invoke(kit.make_call()))
    while not environments.environment.calls:  # noqa: ASYNC110 - one turn of the loop, no time
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait((running,))
    assert concurrency.in_flight(kit.SCOPE) == 1
    environments.environment.settle()
    assert concurrency.in_flight(kit.SCOPE) == 0


async def test_what_was_provisioned_runs_without_a_lease_and_beyond_it_calls_spill_over(kit, version):
    invoker, environments, concurrency = make_invoker(version)
    environments.ahead.append(ahead := Environment())
    await invoker.invoke(kit.make_call(b"1"))
    assert [call.payload for call in ahead.calls] == [b"1"]
    assert (environments.given_back, environments.taken, concurrency.in_flight(kit.SCOPE)) == ([ahead], [], 0)
    await invoker.invoke(kit.make_call(b"2"))
    assert [call.payload for call in environments.environment.calls] == [b"2"]
    assert concurrency.in_flight(kit.SCOPE) == 1


async def test_failure_to_take_an_environment_gives_the_lease_back(kit, version):
    invoker, environments, concurrency = make_invoker(version)

    @asynccontextmanager
    async def refuse(version, call):
        raise Throttled(ThrottleReason.CONCURRENT)
        yield

    environments.take = refuse
    with pytest.raises(Throttled):
        await invoker.invoke(kit.make_call())
    assert concurrency.in_flight(kit.SCOPE) == 0


@pytest.mark.parametrize(("isolates", "tenant"), [(True, None), (False, "blue")])
async def test_tenant_is_named_exactly_where_the_function_isolates_tenants(kit, version, isolates, tenant):
    invoker, _, _ = make_invoker(replace(version, tenant_isolation=isolates))
    with pytest.raises(InvalidParameterValue, match="tenancy configuration"):
        await invoker.invoke(kit.make_call(tenant_id=tenant))


async def test_records_reach_every_sink_in_order_although_one_fails():
    class Broken:
        async def take_records(self, records):
            raise RuntimeError("full")

    class Keeper:
        def __init__(self):
            self.batches = []

        async def take_records(self, records):
            self.batches.append(records)

    keeper, clock = Keeper(), FakeClock()
    records = InvocationRecords(clock, [Broken(), keeper])
    async with asyncio.TaskGroup() as group:
        running = group.create_task(records.run())
        for number in range(3):
            records.record_invocation(number)
        await clock.advance_s(1.0)
        assert keeper.batches == [(0, 1, 2)]
        records.record_invocation(3)
        running.cancel()
    assert keeper.batches == [(0, 1, 2), (3,)]


async def test_records_nobody_takes_are_bounded_and_counted():
    class Slow:
        async def take_records(self, records):
            raise AssertionError("never flushed here")

    records = InvocationRecords(FakeClock(), [Slow()])
    for number in range(WAITING_LIMIT + 5):
        records.record_invocation(number)
    assert (len(records._waiting), records.dropped, records.count) == (WAITING_LIMIT, 5, WAITING_LIMIT + 5)

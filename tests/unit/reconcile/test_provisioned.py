"""What is provisioned is split over versions, kept, and told as it is."""

from datetime import UTC, datetime

import pytest

from lambent.environment.provisioned import Kept
from lambent.model.concurrency import (
    ConcurrencyPlan,
    ProvisionedSpec,
    ProvisionedStatus,
    Provisioning,
    decide_shares,
    provisioned_status_key,
    render_plan,
)
from lambent.model.documents import AliasSpec, render_alias
from lambent.model.errors import ResourceNotFound
from lambent.model.functions import FunctionVersion, LogSettings
from lambent.model.ids import Digest, RevisionId
from lambent.reconcile.provisioned import ProvisionedReconciler, decide_status
from lambent.testing.clock import FakeClock
from lambent.testing.memory_store import MemoryStore

from .conftest import SCOPE

pytestmark = pytest.mark.anyio


def make_spec(requested, revision="r"):
    at = datetime(2026, 11, 24, tzinfo=UTC)
    return ProvisionedSpec(requested=requested, last_modified_at=at, revision_id=RevisionId(revision))


def make_alias(version, *weights):
    return AliasSpec(
        scope=SCOPE, function="f", name="live", first_generation=1, version=version, weights=weights,
        revision_id=RevisionId("a"),
    )  # fmt: skip


class Keeper:
    """Has at once what it is told to keep, unless a test says otherwise."""

    def __init__(self):
        self.wanted, self.there, self.on_change = {}, {}, None

    def keep(self, wanted):
        self.wanted = {arn.rpartition(":")[2]: count for arn, (_, count) in wanted.items()}

    def find(self, arn):
        number = arn.rpartition(":")[2]
        return self.there.get(number, Kept(self.wanted.get(number, 0), is_open=True))


class Plant:
    def __init__(self):
        self.clock = FakeClock()
        self.documents, self.keeper, self.missing = MemoryStore(self.clock).documents, Keeper(), set()
        self.reconciler = ProvisionedReconciler(self.documents, self.resolve, self.keeper, self.clock)

    def resolve(self, target):
        if target.qualifier in self.missing:
            raise ResourceNotFound("no")
        return FunctionVersion(
            scope=SCOPE, name="f", version=target.qualifier, generation=1, runtime="", handler="", role="",
            memory_mib=128, timeout_s=3, tmp_mib=512, code=Digest("a"), code_bytes=1, log=LogSettings(group="g"),
        )  # fmt: skip

    async def plan(self, **requested):
        plan = ConcurrencyPlan(scope=SCOPE, provisioned={"f": {q: make_spec(n) for q, n in requested.items()}})
        await self.documents.put(plan.key, render_plan(plan))

    async def status(self, qualifier):
        doc = await self.documents.find(provisioned_status_key(SCOPE, "f", qualifier))
        return doc and (doc.value["state"], doc.value["available"], doc.value["reason"])


@pytest.fixture
def plant():
    return Plant()


@pytest.mark.parametrize(
    ("requested", "alias", "expected"),
    [
        (5, None, {"7": 5}),
        (5, make_alias("1"), {"1": 5}),
        (10, make_alias("1", ("2", 0.1)), {"1": 9, "2": 1}),
        (1, make_alias("1", ("2", 0.9)), {"2": 1}),
        (10, make_alias("1", ("2", 0.01)), {"1": 10}),
        (4, make_alias("1", ("2", 1.0)), {"2": 4}),
    ],
)
def test_an_amount_is_split_as_calls_are(requested, alias, expected):
    assert decide_shares(requested, "7", alias) == expected


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ({}, (Provisioning.IN_PROGRESS, 0, 0, None)),
        ({"1": Kept(1)}, (Provisioning.IN_PROGRESS, 1, 0, None)),
        ({"1": Kept(3, is_open=True), "2": Kept(0)}, (Provisioning.IN_PROGRESS, 3, 3, None)),
        ({"1": Kept(3, is_open=True), "2": Kept(1, is_open=True)}, (Provisioning.READY, 4, 4, None)),
        ({"1": Kept(9, is_open=True), "2": Kept(0, failure="why")}, (Provisioning.FAILED, 3, 3, "why")),
    ],
)
def test_a_status_says_what_there_is(there, expected):
    status = decide_status(make_spec(4), {"1": 3, "2": 1}, there)
    state, allocated, available, reason = expected
    assert status == ProvisionedStatus(
        revision_id=RevisionId("r"), allocated=allocated, available=available, state=state, reason=reason
    )


async def test_what_the_plan_asks_for_is_kept_and_told(plant):
    await plant.plan(**{"3": 2})
    assert await plant.reconciler.reconcile_once()
    assert plant.keeper.wanted == {"3": 2}
    assert await plant.status("3") == ("READY", 2, None)
    assert not await plant.reconciler.reconcile_once()


async def test_it_moves_with_its_alias(plant):
    await plant.plan(live=4)
    for version, weights, expected in (
        ("1", (), {"1": 4}),
        ("2", (("1", 0.25),), {"1": 1, "2": 3}),
        ("2", (), {"2": 4}),
    ):
        alias = make_alias(version, *weights)
        await plant.documents.put(alias.key, render_alias(alias))
        await plant.reconciler.reconcile_once()
        assert plant.keeper.wanted == expected


async def test_what_is_over_is_neither_kept_nor_told(plant):
    await plant.plan(**{"3": 2})
    await plant.reconciler.reconcile_once()
    await plant.plan()
    assert await plant.reconciler.reconcile_once()
    assert plant.keeper.wanted == {}
    assert await plant.status("3") is None


async def test_after_a_start_it_is_in_progress_until_the_environments_are_there(plant):
    await plant.plan(**{"3": 2})
    for _ in range(2):
        await plant.reconciler.reconcile_once()
    keeper = Keeper()
    keeper.there["3"] = Kept(0)
    again = ProvisionedReconciler(plant.documents, plant.resolve, keeper, plant.clock)
    assert await again.reconcile_once()
    assert await plant.status("3") == ("IN_PROGRESS", 0, None)


async def test_a_version_that_is_not_live_yet_is_waited_for(plant):
    plant.missing.add("3")
    await plant.plan(**{"3": 2})
    await plant.reconciler.reconcile_once()
    assert plant.keeper.wanted == {}
    assert await plant.status("3") == ("IN_PROGRESS", 0, None)
    plant.missing.clear()
    await plant.reconciler.reconcile_once()
    assert plant.keeper.wanted == {"3": 2}

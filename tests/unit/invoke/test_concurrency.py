"""How many invocations run at once and begin in a second: reasons, shares, rates, and that no limit is ever passed."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.invoke.concurrency import Concurrency, decide_throttle
from lambent.model.concurrency import ConcurrencyPlan, ProvisionedSpec
from lambent.model.errors import Throttled, ThrottleReason
from lambent.model.functions import FunctionVersion, LogSettings
from lambent.model.ids import Digest, RevisionId, Scope
from lambent.model.rates import Bucket
from lambent.testing.clock import FakeClock

SCOPE = Scope("111111111111", "us-east-1")
NAMES = ("a", "b", "c")


def make_version(name):
    return FunctionVersion(
        scope=SCOPE, name=name, version="$LATEST", generation=1, runtime="", handler="", role="",
        memory_mib=128, timeout_s=3, tmp_mib=512, code=Digest("a"), code_bytes=1, log=LogSettings(group="g"),
    )  # fmt: skip


def plan_of(reserved=None, provisioned=None):
    at = datetime(2026, 11, 24, tzinfo=UTC)
    return ConcurrencyPlan(
        scope=SCOPE,
        reserved=reserved or {},
        provisioned={
            name: {"1": ProvisionedSpec(requested=amount, last_modified_at=at, revision_id=RevisionId("r"))}
            for name, amount in (provisioned or {}).items()
        },
    )


def refusal(concurrency, name, call):
    with pytest.raises(Throttled) as raised:
        concurrency.lease(make_version(name), call)
    return raised.value


@pytest.mark.parametrize(
    ("in_flight", "reserved", "unreserved", "limit", "reason"),
    [
        pytest.param(0, None, 9, 10, None, id="room"),
        pytest.param(0, None, 10, 10, ThrottleReason.CONCURRENT, id="account-full"),
        pytest.param(0, 0, 0, 10, ThrottleReason.RESERVED_CONCURRENT, id="reserved-zero-refuses-everything"),
        pytest.param(1, 2, 10, 10, None, id="reserved-share-is-a-guarantee"),
        pytest.param(2, 2, 0, 10, ThrottleReason.RESERVED_CONCURRENT, id="reserved-share-is-a-limit"),
    ],
)
def test_throttle_reasons_are_awss(in_flight, reserved, unreserved, limit, reason):
    assert (
        decide_throttle(in_flight=in_flight, reserved=reserved, unreserved_in_flight=unreserved, unreserved_limit=limit)
        is reason
    )


def test_reserved_share_is_taken_from_the_others(kit):
    concurrency, call = Concurrency(3), kit.make_call()
    concurrency.apply(plan_of({"a": 2}))
    with concurrency.lease(make_version("b"), call):
        assert refusal(concurrency, "b", call).reason is ThrottleReason.CONCURRENT
        with concurrency.lease(make_version("a"), call), concurrency.lease(make_version("a"), call):
            assert refusal(concurrency, "a", call).reason is ThrottleReason.RESERVED_CONCURRENT
    assert concurrency.in_flight(SCOPE) == 0


def test_a_share_that_is_taken_away_goes_back_to_all(kit):
    concurrency, call = Concurrency(2), kit.make_call()
    concurrency.apply(plan_of({"a": 2}))
    assert refusal(concurrency, "b", call).reason is ThrottleReason.CONCURRENT
    concurrency.apply(plan_of())
    with concurrency.lease(make_version("b"), call), concurrency.lease(make_version("a"), call):
        assert refusal(concurrency, "a", call).reason is ThrottleReason.CONCURRENT


def test_what_is_provisioned_is_taken_from_the_share_or_from_all(kit):
    concurrency, call = Concurrency(10), kit.make_call()
    concurrency.apply(plan_of({"a": 2}, {"a": 2}))
    assert refusal(concurrency, "a", call).reason is ThrottleReason.RESERVED_CONCURRENT
    concurrency.apply(plan_of({}, {"a": 9}))
    with concurrency.lease(make_version("b"), call):
        assert refusal(concurrency, "b", call).reason is ThrottleReason.CONCURRENT


def test_requests_of_a_second_are_ten_times_the_concurrency(kit):
    clock = FakeClock()
    concurrency, call = Concurrency(2, clock.mono_s), kit.make_call()
    concurrency.apply(plan_of({"a": 1}))
    for name, count, reason in (
        ("a", 10, ThrottleReason.RESERVED_RATE),
        ("b", 20, ThrottleReason.RATE),
    ):
        for _ in range(count):
            concurrency.lease(make_version(name), call)()
        throttled = refusal(concurrency, name, call)
        assert throttled.reason is reason
        assert throttled.members["retryAfterSeconds"] == "1"


def test_events_are_limited_by_concurrency_alone(kit):
    concurrency = Concurrency(1, FakeClock().mono_s)
    for _ in range(100):
        concurrency.lease(make_version("a"), kit.make_call(is_event=True))()


def test_a_bucket_refills_continuously_and_saves_nothing_up():
    bucket = Bucket(3, 2.0, 0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(0.5), bucket.take(0.5)] == [True, False]
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]


def test_exhausted_concurrency_names_no_time_to_come_back(kit):
    concurrency = Concurrency(0)
    assert "retryAfterSeconds" not in refusal(concurrency, "a", kit.make_call()).members


STEP = st.one_of(
    st.tuples(st.just("lease"), st.sampled_from(NAMES)),
    st.tuples(st.just("release"), st.integers(0, 100)),
    st.tuples(st.just("plan"), st.dictionaries(st.sampled_from(NAMES), st.integers(0, 3), max_size=2)),
)


@given(st.lists(STEP, max_size=80))
def test_no_lease_is_ever_given_beyond_a_limit_and_all_come_back(steps):
    limit = 6
    concurrency, held, reserved = Concurrency(limit, FakeClock().mono_s), [], {}
    for step, what in steps:
        if step == "plan":
            if sum(what.values()) <= limit:
                reserved = what
                concurrency.apply(plan_of(reserved))
        elif step == "release":
            if held:
                held.pop(what % len(held))[1]()
        else:
            own = sum(name == what for name, _, _ in held)
            pool = sum(not was_reserved for _, _, was_reserved in held)
            has_room = own < reserved[what] if what in reserved else pool < limit - sum(reserved.values())
            try:
                lease = concurrency.lease(make_version(what), Call)
            except Throttled:
                assert not has_room
                continue
            assert has_room
            held.append((what, lease, what in reserved))
    for _, lease, _ in held:
        lease()
    assert concurrency.in_flight(SCOPE) == 0
    assert concurrency._account(SCOPE).unreserved_in_flight == 0


class Call:
    """All that a lease asks of a call: of an event, so that no rate interferes."""

    is_event = True

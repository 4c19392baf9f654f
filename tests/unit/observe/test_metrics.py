"""Metrics of functions and of the platform, and bills."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest

from lambent.model.ids import EnvironmentId, RequestId, Scope
from lambent.model.invocations import InvocationRecord, Status
from lambent.observe.billing import MONTHS_LIMIT, Bill, Billing
from lambent.observe.metrics import FunctionMetrics, PlatformMetrics, Series

pytestmark = pytest.mark.anyio
SCOPE = Scope("111111111111", "eu-central-1")
AT = datetime(2026, 11, 23, 12, 0, 30, tzinfo=UTC)


def record(at=AT, name="f", **members):
    return InvocationRecord(
        **{
            "request_id": RequestId("r"),
            "scope": SCOPE,
            "function_name": name,
            "qualifier": None,
            "version": "$LATEST",
            "environment_id": EnvironmentId("e"),
            "started_at": at,
            "duration_ms": 10.0,
            "billed_ms": 11,
            "memory_mib": 128,
            "max_memory_mib": 30,
            **members,
        }
    )


def numbers(metrics, metric, function_name=None, resource=None, period_s=60):
    found = metrics.statistics(
        Series(SCOPE, metric, function_name, resource), AT - timedelta(hours=1), AT + timedelta(hours=1), period_s
    )
    return [(each.count, each.total, each.least, each.most) for _, each in found]


async def test_an_invocation_counts_for_its_function_its_qualifier_and_the_region():
    metrics = FunctionMetrics(PlatformMetrics())
    await metrics.take_records(
        [
            record(),
            record(duration_ms=30.0, qualifier="live"),
            record(name="g", is_function_error=True),
            record(status=Status.TIMEOUT),
        ]
    )
    assert numbers(metrics, "Invocations") == [(4, 4, 1, 1)]
    assert numbers(metrics, "Invocations", "f") == [(3, 3, 1, 1)]
    assert numbers(metrics, "Invocations", "f", "f") == [(2, 2, 1, 1)]
    assert numbers(metrics, "Invocations", "f", "f:live") == [(1, 1, 1, 1)]
    assert numbers(metrics, "Duration", "f") == [(3, 50.0, 10.0, 30.0)]
    assert numbers(metrics, "Errors") == [(4, 2, 0, 1)]
    assert numbers(metrics, "Errors", "f") == [(3, 1, 0, 1)]


async def test_throttles_are_no_invocations_and_concurrency_has_a_maximum():
    metrics = FunctionMetrics(PlatformMetrics())
    metrics.record_throttle(SCOPE, "f", None, AT)
    for running in (1, 7, 3):
        metrics.record_concurrency(SCOPE, "f", running, AT)
        metrics.record_concurrency(SCOPE, None, running + 1, AT)
    assert numbers(metrics, "Throttles", "f") == [(1, 1, 1, 1)]
    assert numbers(metrics, "Invocations", "f") == []
    assert numbers(metrics, "ConcurrentExecutions", "f")[0][3] == 7
    assert numbers(metrics, "ConcurrentExecutions")[0][3] == 8


async def test_minutes_come_apart_or_in_longer_periods():
    metrics = FunctionMetrics(PlatformMetrics())
    await metrics.take_records([record(AT + timedelta(minutes=n)) for n in range(4)])
    assert len(numbers(metrics, "Invocations", "f")) == 4
    assert [count for count, *_ in numbers(metrics, "Invocations", "f", period_s=3600)] == [4]


async def test_the_oldest_minutes_go_when_there_are_too_many_points():
    metrics = FunctionMetrics(PlatformMetrics(), points_limit=50)
    await metrics.take_records([record(AT + timedelta(minutes=n)) for n in range(30)])
    kept = metrics.statistics(Series(SCOPE, "Invocations"), AT - timedelta(hours=1), AT + timedelta(hours=1))
    assert 1 <= len(kept) <= 6
    assert kept[-1][0] == AT.replace(second=0) + timedelta(minutes=29)


async def test_prometheus_reads_counters_gauges_and_cumulative_buckets():
    platform = PlatformMetrics()
    platform.set("lambent_environments", 3, {"state": 'id"le\\'})
    platform.observe_s("lambent_x_seconds", 0.004)
    platform.observe_s("lambent_x_seconds", 5_000)
    await FunctionMetrics(platform).take_records([record(), record(status=Status.ERROR, init_duration_ms=5.0)])
    lines = platform.render_prometheus().splitlines()
    labels = '{account="111111111111",function="f",region="eu-central-1"}'
    for line in (
        "# TYPE lambent_environments gauge",
        'lambent_environments{state="id\\"le\\\\"} 3',
        "# TYPE lambent_x_seconds histogram",
        'lambent_x_seconds_bucket{le="0.0025"} 0',
        'lambent_x_seconds_bucket{le="0.005"} 1',
        'lambent_x_seconds_bucket{le="900.0"} 1',
        'lambent_x_seconds_bucket{le="+Inf"} 2',
        "lambent_x_seconds_sum 5000.004",
        "lambent_x_seconds_count 2",
        f"lambent_function_invocations_total{labels} 2",
        f"lambent_function_errors_total{labels} 1",
        f"lambent_function_cold_starts_total{labels} 1",
        "lambent_metric_series_refused_total 0",
    ):
        assert line in lines


def test_series_are_bounded_and_what_is_refused_is_counted():
    platform = PlatformMetrics(series_limit=2)
    for n in range(5):
        platform.count("lambent_x_total", {"n": str(n)})
    platform.count("lambent_x_total", {"n": "0"})
    text = platform.render_prometheus()
    assert 'lambent_x_total{n="0"} 2' in text
    assert text.count("lambent_x_total{") == 2
    assert "lambent_metric_series_refused_total 3" in text
    with pytest.raises(ValueError, match="is a counter"):
        platform.set("lambent_x_total", 1)


async def test_bills_are_exact():
    billing = Billing()
    await billing.take_records([record(billed_ms=1, memory_mib=129)] * 3 + [record(name="g", memory_mib=1024)])
    bills = billing.bills(SCOPE, "2026-11")
    assert bills == {"f": Bill(3, 3, 387), "g": Bill(1, 11, 11264)}
    assert bills["f"].gb_seconds == Fraction(387, 1_024_000)
    assert (bills["f"] + bills["g"]).requests == 4
    assert billing.bills(SCOPE, "2026-12") == billing.bills(Scope("2", "x"), "2026-11") == {}


async def test_an_invocation_is_billed_in_the_month_of_its_start_and_old_months_go():
    billing = Billing()
    await billing.take_records([record(datetime(2026, 11, 30, 23, 59, 59, 999_999, tzinfo=UTC))])
    assert billing.bills(SCOPE, "2026-11").keys() == {"f"}
    for n in range(MONTHS_LIMIT):
        await billing.take_records([record(datetime(2027 + n // 12, n % 12 + 1, 1, tzinfo=UTC))])
    assert billing.bills(SCOPE, "2026-11") == {}
    assert billing.bills(SCOPE, "2028-01").keys() == {"f"}

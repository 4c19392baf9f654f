"""Counters and histograms of the platform, and the AWS/Lambda metrics of functions, in memory and in bounds.

Metric names, units and dimensions: developer guide, "Types of metrics for Lambda functions" and "Viewing metrics".
A restart begins anew. An endpoint that shows ``render_prometheus`` is the frontend's.
"""

import bisect
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final, TypeVar

from lambent.model.functions import LATEST
from lambent.model.ids import Scope
from lambent.model.invocations import InvocationRecord

SERIES_LIMIT: Final = 20_000  # of counters, gauges and histograms together; more are counted, not kept
POINTS_LIMIT: Final = 200_000  # of function metrics; at it, the oldest minute goes
BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 900.0)

_Kept = TypeVar("_Kept")
Labels = tuple[tuple[str, str], ...]

NO_LABELS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(slots=True)
class _Histogram:
    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    total: float = 0.0


class PlatformMetrics:
    """Counters, gauges and histograms by name and labels. Not for two threads."""

    def __init__(self, *, series_limit: int = SERIES_LIMIT) -> None:
        self._limit = series_limit
        self._values: dict[str, dict[Labels, float]] = {}
        self._histograms: dict[str, dict[Labels, _Histogram]] = {}
        self._kinds: dict[str, str] = {}
        self._series = 0
        self._refused = 0

    def count(self, name: str, labels: Mapping[str, str] = NO_LABELS, *, amount: float = 1) -> None:
        """Add to a counter, whose name ends in ``_total``."""
        if (series := self._admit(name, "counter", self._values, labels)) is not None:
            values, key = series
            values[key] = values.get(key, 0) + amount

    def set(self, name: str, value: float, labels: Mapping[str, str] = NO_LABELS) -> None:
        """Set a gauge."""
        if (series := self._admit(name, "gauge", self._values, labels)) is not None:
            values, key = series
            values[key] = value

    def observe_s(self, name: str, *seconds: float, labels: Mapping[str, str] = NO_LABELS) -> None:
        """Add durations to a histogram, whose name ends in ``_seconds``."""
        if (series := self._admit(name, "histogram", self._histograms, labels)) is not None:
            histograms, key = series
            histogram = histograms.setdefault(key, _Histogram())
            for each in seconds:
                histogram.counts[bisect.bisect_left(BUCKETS_S, each)] += 1
                histogram.total += each

    def render_prometheus(self) -> str:
        """Return everything in Prometheus's text format, version 0.0.4."""
        lines: list[str] = []
        for name in sorted(self._kinds):
            lines.append(f"# TYPE {name} {self._kinds[name]}")
            for labels, value in sorted(self._values.get(name, {}).items()):
                lines.append(f"{name}{_render_labels(labels)} {_render_number(value)}")
            for labels, histogram in sorted(self._histograms.get(name, {}).items(), key=lambda each: each[0]):
                lines.extend(_render_histogram(name, labels, histogram))
        lines.append("# TYPE lambent_metric_series_refused_total counter")
        lines.append(f"lambent_metric_series_refused_total {self._refused}")
        return "\n".join(lines) + "\n"

    def _admit(
        self, name: str, kind: str, kept: dict[str, dict[Labels, _Kept]], labels: Mapping[str, str]
    ) -> tuple[dict[Labels, _Kept], Labels] | None:
        if self._kinds.setdefault(name, kind) != kind:
            raise ValueError(f"{name} is a {self._kinds[name]}")
        series = kept.setdefault(name, {})
        key = tuple(sorted(labels.items()))
        if key not in series:
            if self._series >= self._limit:
                self._refused += 1
                return None
            self._series += 1
        return series, key


@dataclass(slots=True)
class Statistic:
    """What was measured in one minute, or in several put together."""

    count: int = 0
    total: float = 0.0
    least: float = float("inf")
    most: float = float("-inf")

    def add(self, value: float) -> None:
        """Take one measurement in."""
        self.merge(Statistic(1, value, value, value))

    def merge(self, other: "Statistic") -> None:
        """Take all of another's measurements in."""
        self.count += other.count
        self.total += other.total
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)


@dataclass(frozen=True, slots=True)
class Series:
    """One metric with its dimensions: all functions together, one function, or one function's qualifier."""

    scope: Scope
    metric: str  # Invocations, Errors, Throttles, Duration, ConcurrentExecutions
    function_name: str | None = None
    resource: str | None = None  # "fn", "fn:alias" or "fn:7"


class FunctionMetrics:
    """The AWS/Lambda metrics, by minute. Also a sink of invocation records."""

    def __init__(self, platform: PlatformMetrics, *, points_limit: int = POINTS_LIMIT) -> None:
        self._platform = platform
        self._limit = points_limit
        self._minutes: dict[datetime, dict[Series, Statistic]] = {}
        self._points = 0

    async def take_records(self, records: Sequence[InvocationRecord]) -> None:
        """Derive the metrics of a batch; a metric's time is the invocation's start."""
        together: dict[tuple[str, str, str, str | None, datetime], list[InvocationRecord]] = {}
        for record in records:
            scope, minute = record.scope, _minute(record.started_at)
            key = (scope.account_id, scope.region, record.function_name, record.qualifier, minute)
            if (alike := together.get(key)) is None:
                alike = together[key] = []
            alike.append(record)
        for (_, _, _, _, minute), alike in together.items():
            self._take_alike(alike, minute)

    def _take_alike(self, records: Sequence[InvocationRecord], minute: datetime) -> None:
        """Take records of one function and qualifier that began in the same minute."""
        # Developer guide: Invocations counts requests that ran, also failed ones; Errors is 0 or 1 for each.
        count, first = len(records), records[0]
        errors = sum(record.is_function_error or record.status != "success" for record in records)
        durations = [record.duration_ms for record in records]
        cold_starts = sum(record.init_duration_ms is not None for record in records)
        where = (first.scope, first.function_name, first.qualifier, minute)
        self._measure("Invocations", Statistic(count, count, 1, 1), *where)
        self._measure("Errors", Statistic(count, errors, int(errors == count), int(errors > 0)), *where)
        self._measure("Duration", Statistic(count, sum(durations), min(durations), max(durations)), *where)
        labels = _function_labels(first.scope, first.function_name)
        self._platform.count("lambent_function_invocations_total", labels, amount=count)
        self._platform.count("lambent_function_errors_total", labels, amount=errors)
        seconds = (duration_ms / 1000 for duration_ms in durations)
        self._platform.observe_s("lambent_function_duration_seconds", *seconds, labels=labels)
        if cold_starts:
            self._platform.count("lambent_function_cold_starts_total", labels, amount=cold_starts)

    def record_throttle(self, scope: Scope, function_name: str, qualifier: str | None, at: datetime) -> None:
        """Count a refused invocation; it is neither in Invocations nor in Errors."""
        self._measure("Throttles", Statistic(1, 1, 1, 1), scope, function_name, qualifier, _minute(at))
        self._platform.count("lambent_function_throttles_total", _function_labels(scope, function_name))

    def record_value(
        self, metric: str, value: float, *, scope: Scope, function_name: str, qualifier: str | None, at: datetime
    ) -> None:
        """Note one measurement of a metric by AWS's name: AsyncEventAge (ms), AsyncEventsDropped (count) …"""
        self._measure(metric, Statistic(1, value, value, value), scope, function_name, qualifier, _minute(at))

    def record_concurrency(self, scope: Scope, function_name: str | None, running: int, at: datetime) -> None:
        """Note how many invocations run at this moment: of one function, or (None) of the account in its region."""
        one = Statistic(1, running, running, running)
        self._add(Series(scope, "ConcurrentExecutions", function_name), one, _minute(at))

    def statistics(
        self, series: Series, start: datetime, end: datetime, period_s: int = 60
    ) -> list[tuple[datetime, Statistic]]:
        """Return what was measured from ``start`` up to ``end``, in periods of whole minutes that hold anything."""
        start, period = _minute(start), timedelta(seconds=period_s)
        merged: dict[datetime, Statistic] = {}
        for minute, points in sorted(self._minutes.items()):
            if start <= minute < end and (point := points.get(series)) is not None:
                merged.setdefault(start + (minute - start) // period * period, Statistic()).merge(point)
        return list(merged.items())

    def _measure(
        self, metric: str, values: Statistic, scope: Scope, function_name: str, qualifier: str | None, minute: datetime
    ) -> None:
        # Developer guide, "Viewing metrics": dimensions none, FunctionName, FunctionName with Resource.
        resource = function_name if qualifier in (None, LATEST) else f"{function_name}:{qualifier}"
        self._add(Series(scope, metric), values, minute)
        self._add(Series(scope, metric, function_name), values, minute)
        self._add(Series(scope, metric, function_name, resource), values, minute)

    def _add(self, series: Series, values: Statistic, minute: datetime) -> None:
        points = self._minutes.setdefault(minute, {})
        if series not in points:
            points[series] = Statistic()
            self._points += 1
        points[series].merge(values)
        while self._points > self._limit and len(self._minutes) > 1:
            self._points -= len(self._minutes.pop(min(self._minutes)))


def _minute(at: datetime) -> datetime:
    return (at if at.tzinfo is UTC else at.astimezone(UTC)).replace(second=0, microsecond=0)


def _function_labels(scope: Scope, function_name: str) -> Mapping[str, str]:
    return {"account": scope.account_id, "region": scope.region, "function": function_name}


def _render_labels(labels: Iterable[tuple[str, str]]) -> str:
    texts = [f'{name}="{_escape(value)}"' for name, value in labels]
    return f"{{{','.join(texts)}}}" if texts else ""


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _render_number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _render_histogram(name: str, labels: Labels, histogram: _Histogram) -> Iterable[str]:
    bounds = [*map(str, BUCKETS_S), "+Inf"]
    for bound, count in zip(bounds, itertools.accumulate(histogram.counts), strict=True):
        yield f"{name}_bucket{_render_labels((*labels, ('le', bound)))} {count}"
    yield f"{name}_sum{_render_labels(labels)} {_render_number(histogram.total)}"
    yield f"{name}_count{_render_labels(labels)} {sum(histogram.counts)}"

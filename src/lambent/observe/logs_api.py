"""The commands of CloudWatch Logs: on groups and streams, PutLogEvents, and those of ``log_queries``.

Members by AWS's names, as ``wire`` parsed them: bounds, patterns and enumerations of the service model are checked
there. Sources: API reference, CloudWatch Logs; user guide, "CloudWatch Logs quotas".
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final
from weakref import WeakValueDictionary

from lambent.model.clock import Clock
from lambent.model.ids import Scope
from lambent.model.requests import Commands, Members, RequestContext
from lambent.observe.log_errors import InvalidParameter, bad_token, broken_constraint
from lambent.observe.log_events import (
    END_OF_TIME_MS,
    EVENT_LIMIT_BYTES,
    EVENT_OVERHEAD_BYTES,
    KEY_DIGITS,
    EventNumbers,
    EventStore,
    LogEvent,
    parse_event,
    to_ms,
)
from lambent.observe.log_groups import DAY_MS, LogGroup, LogGroups, LogStream
from lambent.observe.log_names import group_arn, stream_arn
from lambent.observe.log_queries import LogQueries, Settle, named_group, parse_group_identifier

BATCH_LIMIT_BYTES: Final = 1_048_576
HOUR_MS: Final = 3_600_000
DESCRIBE_LIMIT: Final = 50

# API reference, PutRetentionPolicy, retentionInDays.
RETENTION_DAYS: Final = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653),
)

_APPEND_EVENTS: Final = 500
_APPEND_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Rejected:
    """Which events of a batch are not taken: those before ``first`` and those from ``end`` on."""

    first: int
    end: int
    info: dict[str, int]


class LogsApi:
    """Answers the operations. ``commands`` is what the frontend routes to."""

    def __init__(self, groups: LogGroups, events: EventStore, clock: Clock, settle: Settle | None = None) -> None:
        """``settle`` is awaited before groups, streams or events are read: what was logged before is then written."""
        self._groups, self._events, self._clock, self._settle = groups, events, clock, settle
        self._queries = LogQueries(groups, events, clock, settle)
        self._numbers = EventNumbers()
        # One batch of a stream at a time, so that the disorder noted is that of the order of arrival.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def commands(self) -> Commands:
        """The commands by operation name."""
        return {
            "CreateLogGroup": self.create_log_group,
            "DeleteLogGroup": self.delete_log_group,
            "DescribeLogGroups": self.describe_log_groups,
            "CreateLogStream": self.create_log_stream,
            "DeleteLogStream": self.delete_log_stream,
            "DescribeLogStreams": self.describe_log_streams,
            "PutLogEvents": self.put_log_events,
            "PutRetentionPolicy": self.put_retention_policy,
            "DeleteRetentionPolicy": self.delete_retention_policy,
            **self._queries.commands,
        }

    # --- groups

    async def create_log_group(self, context: RequestContext, members: Members) -> Members:
        """Make a log group."""
        name: str = members["logGroupName"]
        # API reference: "Log group names can't start with the string aws/"; the text as public reports quote it.
        if name.lower().startswith("aws/"):
            raise InvalidParameter("Log groups starting with AWS/ are reserved for AWS.")
        if members.get("kmsKeyId") is not None:
            raise InvalidParameter("kmsKeyId is not supported yet")
        if members.get("logGroupClass", "STANDARD") != "STANDARD":
            raise InvalidParameter("logGroupClass is not supported yet")
        tags = tuple(sorted((members.get("tags") or {}).items()))
        is_protected = bool(members.get("deletionProtectionEnabled"))
        await self._groups.create_group(context.scope, name, is_protected=is_protected, tags=tags)
        return {}

    async def delete_log_group(self, context: RequestContext, members: Members) -> Members:
        """Delete a log group with all that is in it."""
        await self._groups.delete_group(context.scope, members["logGroupName"])
        return {}

    async def describe_log_groups(self, context: RequestContext, members: Members) -> Members:
        """List log groups, ASCII-sorted by name."""
        if self._settle is not None:
            await self._settle()
        limit = members.get("limit") or DESCRIBE_LIMIT
        found: list[LogGroup] = []
        has_more = False
        async for group in self._described_groups(context.scope, members):
            if len(found) == limit:
                has_more = True
                break
            found.append(group)
        answer: Members = {"logGroups": [await self._render_group(group) for group in found]}
        if has_more:
            answer["nextToken"] = found[-1].name
        return answer

    async def _described_groups(self, scope: Scope, members: Members) -> AsyncIterator[LogGroup]:
        prefix, pattern = members.get("logGroupNamePrefix") or "", members.get("logGroupNamePattern") or ""
        # API reference: logGroupNamePattern and logGroupNamePrefix are mutually exclusive.
        if prefix and pattern:
            raise InvalidParameter("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
        if (accounts := members.get("accountIdentifiers")) and scope.account_id not in accounts:
            return
        if members.get("logGroupClass", "STANDARD") != "STANDARD":
            return
        wanted = {parse_group_identifier(each) for each in members.get("logGroupIdentifiers") or ()}
        async for group in self._groups.groups(scope, prefix, after=members.get("nextToken") or ""):
            if pattern in group.name and (not wanted or group.name in wanted):
                yield group

    async def _render_group(self, group: LogGroup) -> Members:
        arn = group_arn(group.scope, group.name)
        rendered: Members = {
            "logGroupName": group.name,
            "creationTime": group.created_ms,
            "metricFilterCount": 0,
            "arn": f"{arn}:*",
            "storedBytes": await self._events.stored_bytes(group.events_prefix),
            "logGroupClass": "STANDARD",
            "logGroupArn": arn,
            "deletionProtectionEnabled": group.is_protected,
        }
        if group.retention_days is not None:
            rendered["retentionInDays"] = group.retention_days
        return rendered

    async def put_retention_policy(self, context: RequestContext, members: Members) -> Members:
        """Let events expire after some days."""
        days: int = members["retentionInDays"]
        if days not in RETENTION_DAYS:
            allowed = ", ".join(map(str, RETENTION_DAYS))
            raise broken_constraint(days, "retentionInDays", f"Member must satisfy enum value set: [{allowed}]")
        await self._groups.set_retention(context.scope, members["logGroupName"], days)
        return {}

    async def delete_retention_policy(self, context: RequestContext, members: Members) -> Members:
        """Let events stay."""
        await self._groups.set_retention(context.scope, members["logGroupName"], None)
        return {}

    # --- streams

    async def create_log_stream(self, context: RequestContext, members: Members) -> Members:
        """Make a log stream."""
        name: str = members["logStreamName"]
        if ":" in name or "*" in name:
            raise broken_constraint(name, "logStreamName", "Member must satisfy regular expression pattern: [^:*]*")
        group = await self._groups.get_group(context.scope, members["logGroupName"])
        await self._groups.create_stream(group, name)
        return {}

    async def delete_log_stream(self, context: RequestContext, members: Members) -> Members:
        """Delete a log stream with its events."""
        group = await self._groups.get_group(context.scope, members["logGroupName"])
        await self._groups.delete_stream(group, members["logStreamName"])
        return {}

    async def describe_log_streams(self, context: RequestContext, members: Members) -> Members:
        """List log streams by name or by the time of their last event."""
        prefix = members.get("logStreamNamePrefix") or ""
        by_time = members.get("orderBy") == "LastEventTime"
        if by_time and prefix:
            raise InvalidParameter("Cannot order by LastEventTime with a logStreamNamePrefix.")
        if self._settle is not None:
            await self._settle()
        group = await self._groups.get_group(context.scope, named_group(members))
        limit = members.get("limit") or DESCRIBE_LIMIT
        token = members.get("nextToken")
        if by_time or members.get("descending"):
            found = await self._sorted_streams(
                group, prefix, by_time=by_time, descending=bool(members.get("descending"))
            )
            found = found[_start_behind(found, token) :]
        else:
            found = []
            async for stream in self._groups.streams(group, prefix, after=token or ""):
                found.append(stream)
                if len(found) > limit:
                    break
        answer: Members = {"logStreams": [await self._render_stream(group, stream) for stream in found[:limit]]}
        if len(found) > limit:
            answer["nextToken"] = found[limit - 1].name
        return answer

    async def _sorted_streams(
        self, group: LogGroup, prefix: str, *, by_time: bool, descending: bool
    ) -> list[LogStream]:
        rows: list[tuple[int, str, LogStream]] = []
        async for stream in self._groups.streams(group, prefix):
            last = await self._edge(group, stream, newest_first=True) if by_time else None
            rows.append((last.at_ms if last else 0, stream.name, stream))
        return [stream for _, _, stream in sorted(rows, key=lambda row: row[:2], reverse=descending)]

    async def _render_stream(self, group: LogGroup, stream: LogStream) -> Members:
        rendered: Members = {
            "logStreamName": stream.name,
            "creationTime": stream.created_ms,
            "arn": stream_arn(group.scope, group.name, stream.name),
            "storedBytes": 0,  # API reference, LogStream: "always reported as zero"
        }
        first = await self._edge(group, stream, newest_first=False)
        last = await self._edge(group, stream, newest_first=True)
        if first is not None and last is not None:
            rendered["firstEventTimestamp"] = first.at_ms
            rendered["lastEventTimestamp"] = last.at_ms
            rendered["lastIngestionTime"] = last.ingested_ms
            rendered["uploadSequenceToken"] = f"{last.key:0{KEY_DIGITS}d}"
        return rendered

    async def _edge(self, group: LogGroup, stream: LogStream, *, newest_first: bool) -> LogEvent | None:
        found = await self._events.read(
            self._groups.source(group, stream).name,
            start_ms=group.oldest_ms(to_ms(self._clock.now())),
            end_ms=END_OF_TIME_MS,
            after=None,
            limit=1,
            newest_first=newest_first,
        )
        return parse_event(found.entries[0]) if found.entries else None

    # --- events

    async def put_log_events(self, context: RequestContext, members: Members) -> Members:
        """Take a batch of events; those too old, too new or expired are named and left out."""
        events = [(event["timestamp"], event["message"].encode("utf-8", "replace")) for event in members["logEvents"]]
        _require_batch(events)
        group = await self._groups.get_group(context.scope, members["logGroupName"])
        stream = await self._groups.get_stream(group, members["logStreamName"])
        now_ms = to_ms(self._clock.now())
        rejected = decide_rejected([at_ms for at_ms, _ in events], group.oldest_ms(now_ms), now_ms)
        taken = events[rejected.first : rejected.end]
        if taken and taken[-1][0] - taken[0][0] > DAY_MS:
            raise InvalidParameter(
                "The batch of log events in a single PutLogEvents request cannot span more than 24 hours."
            )
        numbered = [LogEvent(at_ms, now_ms, self._numbers.next(), message) for at_ms, message in taken]
        async with self._locks.setdefault(stream.id, asyncio.Lock()):
            await self._append(group, stream, numbered)
        token = numbered[-1].key if numbered else LogEvent(now_ms, now_ms, self._numbers.next(), b"").key
        answer: Members = {"nextSequenceToken": f"{token:0{KEY_DIGITS}d}"}
        if rejected.info:
            answer["rejectedLogEventsInfo"] = rejected.info
        if members.get("entity") is not None:
            # Service model, EntityRejectionErrorType: the events are taken, the entity is not.
            answer["rejectedEntityInfo"] = {"errorType": "UnsupportedLogGroupType"}
        return answer

    async def _append(self, group: LogGroup, stream: LogStream, events: Sequence[LogEvent]) -> None:
        if not events:
            return
        last = await self._edge(group, stream, newest_first=True)
        # The last event that arrived may itself be behind the latest by the disorder known so far.
        disorder_ms = last.at_ms + stream.disorder_ms - events[0].at_ms if last else 0
        if last and events[0].at_ms < last.at_ms and disorder_ms > stream.disorder_ms:
            await self._groups.allow_disorder(group, stream.name, disorder_ms)
        name = self._groups.source(group, stream).name
        batch: list[LogEvent] = []
        size = 0
        for event in events:
            if batch and (len(batch) == _APPEND_EVENTS or size + len(event.message) > _APPEND_BYTES):
                await self._events.append(name, batch)
                batch, size = [], 0
            batch.append(event)
            size += len(event.message)
        await self._events.append(name, batch)


def decide_rejected(times_ms: Sequence[int], oldest_ms: int, now_ms: int) -> Rejected:
    """Return which events of a chronological batch are not taken.

    API reference, PutLogEvents: older than 14 days, older than the group's retention, or more than 2 hours ahead.
    RejectedLogEventsInfo: the end indexes are exclusive, the start index is inclusive.
    """
    expired = sum(1 for at_ms in times_ms if at_ms < oldest_ms)
    too_old = sum(1 for at_ms in times_ms if at_ms < now_ms - 14 * DAY_MS)
    end = sum(1 for at_ms in times_ms if at_ms <= now_ms + 2 * HOUR_MS)
    info: dict[str, int] = {}
    if end < len(times_ms):
        info["tooNewLogEventStartIndex"] = end
    if too_old:
        info["tooOldLogEventEndIndex"] = too_old
    if expired > too_old:
        info["expiredLogEventEndIndex"] = expired
    return Rejected(max(expired, too_old), end, info)


def _require_batch(events: Sequence[tuple[int, bytes]]) -> None:
    if any(before[0] > after[0] for before, after in pairwise(events)):
        raise InvalidParameter("Log events in a single PutLogEvents request must be in chronological order.")
    total = 0
    for _, message in events:
        size = len(message) + EVENT_OVERHEAD_BYTES
        if size > EVENT_LIMIT_BYTES:
            raise InvalidParameter(f"Log event too large: {size} bytes exceeds limit of {EVENT_LIMIT_BYTES}")
        total += size
    if total > BATCH_LIMIT_BYTES:
        raise InvalidParameter(f"Upload too large: {total} bytes exceeds limit of {BATCH_LIMIT_BYTES}")


def _start_behind(streams: Sequence[LogStream], token: str | None) -> int:
    if token is None:
        return 0
    index = next((index for index, stream in enumerate(streams) if stream.name == token), None)
    if index is None:
        raise bad_token()
    return index + 1

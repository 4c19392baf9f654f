"""GetLogEvents and FilterLogEvents: pages of events with tokens that stay good while events arrive.

A token is a direction and the key of an event: what comes next is what lies beyond that key, however much was written
meanwhile. Source: API reference, CloudWatch Logs; the tokens' form as AWS's (``f/<56 digits>/s``).
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lambent.model.clock import Clock
from lambent.model.requests import Commands, Members, RequestContext
from lambent.observe.filter_pattern import parse_filter_pattern
from lambent.observe.log_errors import InvalidParameter, bad_token
from lambent.observe.log_events import END_OF_TIME_MS, KEY_DIGITS, EventStore, key_at, to_ms
from lambent.observe.log_groups import LogGroup, LogGroups
from lambent.observe.log_pages import PAGE_LIMIT_EVENTS, Chosen, Question, Source, choose_page

# API reference, FilterLogEvents: startFromHead false needs a startTime on or after Jan 1, 2024 00:00:00 UTC.
BACKWARD_START_MS: Final = 1_704_067_200_000

Settle = Callable[[], Awaitable[None]]

_GROUP_ARN: Final = re.compile(r"arn:[^:]*:logs:[^:]*:[^:]*:log-group:([^:]+)(?::\*)?")
_TOKEN: Final = re.compile(rf"([fb])/(\d{{{KEY_DIGITS}}})/s")


@dataclass(frozen=True, slots=True)
class Token:
    """Where to go on, and in which direction."""

    is_forward: bool
    key: int


class LogQueries:
    """Answers the operations. ``settle`` returns when what was logged before is written (bounded in time)."""

    def __init__(self, groups: LogGroups, events: EventStore, clock: Clock, settle: Settle | None) -> None:
        self._groups, self._events, self._clock, self._settle = groups, events, clock, settle

    @property
    def commands(self) -> Commands:
        """The commands by operation name."""
        return {"GetLogEvents": self.get_log_events, "FilterLogEvents": self.filter_log_events}

    async def get_log_events(self, context: RequestContext, members: Members) -> Members:
        """Return a page of one stream, oldest first within the page."""
        await self._settled()
        group = await self._groups.get_group(context.scope, named_group(members))
        stream = await self._groups.get_stream(group, members["logStreamName"])
        token = parse_token(members["nextToken"]) if members.get("nextToken") else None
        is_forward = token.is_forward if token else bool(members.get("startFromHead"))
        question = Question(
            start_ms=max(members.get("startTime") or 0, self._oldest_ms(group)),
            end_ms=_or_end(members.get("endTime")),  # exclusive here
            beyond=token.key if token else None,
            limit=members.get("limit") or PAGE_LIMIT_EVENTS,
            newest_first=not is_forward,
        )
        page = await choose_page(self._events, [self._groups.source(group, stream)], question)
        chosen = page.chosen() if is_forward else page.chosen()[::-1]
        first, last = _edges(chosen, token, question)
        return {
            "events": [_render_event(each) for each in chosen],
            "nextForwardToken": render_token(Token(True, last)),
            "nextBackwardToken": render_token(Token(False, first)),
        }

    async def filter_log_events(self, context: RequestContext, members: Members) -> Members:
        """Return a page of a group's events that the pattern matches, from all its streams together."""
        await self._settled()
        group = await self._groups.get_group(context.scope, named_group(members))
        token = parse_token(members["nextToken"]) if members.get("nextToken") else None
        is_forward = token.is_forward if token else members.get("startFromHead") is not False
        start_ms = members.get("startTime") or 0
        if not is_forward and start_ms < BACKWARD_START_MS:
            raise InvalidParameter("startFromHead false requires a startTime on or after Jan 1, 2024 00:00:00 UTC")
        pattern = members.get("filterPattern")
        question = Question(
            start_ms=max(start_ms, self._oldest_ms(group)),
            end_ms=_or_end(members.get("endTime"), 1),  # inclusive here: "later than this time are not returned"
            beyond=token.key if token else None,
            limit=members.get("limit") or PAGE_LIMIT_EVENTS,
            newest_first=not is_forward,
            matches=parse_filter_pattern(pattern).matches if pattern else None,
        )
        page = await choose_page(self._events, await self._sources(group, members), question)
        chosen = page.chosen()
        answer: Members = {
            "events": [
                {"logStreamName": each.stream, **_render_event(each), "eventId": f"{each.event.key:0{KEY_DIGITS}d}"}
                for each in chosen
            ],
            "searchedLogStreams": [],  # API reference: "This parameter returns an empty list."
        }
        if page.has_more:
            answer["nextToken"] = render_token(Token(is_forward, chosen[-1].event.key))
        return answer

    async def _sources(self, group: LogGroup, members: Members) -> Sequence[Source]:
        names, prefix = members.get("logStreamNames"), members.get("logStreamNamePrefix")
        # API reference: both given "returns an InvalidParameterException error".
        if names and prefix:
            raise InvalidParameter("logStreamNamePrefix and logStreamNames cannot be specified together")
        if names:
            return [
                self._groups.source(group, await self._groups.get_stream(group, name)) for name in dict.fromkeys(names)
            ]
        return [self._groups.source(group, stream) async for stream in self._groups.streams(group, prefix or "")]

    async def _settled(self) -> None:
        if self._settle is not None:
            await self._settle()

    def _oldest_ms(self, group: LogGroup) -> int:
        return group.oldest_ms(to_ms(self._clock.now()))


def named_group(members: Members) -> str:
    """Return the group that ``logGroupName`` or ``logGroupIdentifier`` (a name or an ARN) names."""
    name, identifier = members.get("logGroupName"), members.get("logGroupIdentifier")
    # API reference: "You must include either logGroupIdentifier or logGroupName, but not both."
    if (name is None) == (identifier is None):
        raise InvalidParameter("You must include either logGroupIdentifier or logGroupName, but not both.")
    return parse_group_identifier(identifier) if name is None else str(name)


def parse_group_identifier(identifier: Any) -> str:
    """Return the name of the group that an identifier means."""
    found = _GROUP_ARN.fullmatch(str(identifier))
    return found[1] if found else str(identifier)


def parse_token(text: str) -> Token:
    """Return what a ``nextToken`` means; InvalidParameter for one that we never gave."""
    if (found := _TOKEN.fullmatch(text)) is None:
        raise bad_token()
    return Token(found[1] == "f", int(found[2]))


def render_token(token: Token) -> str:
    """Return a token as answers carry it."""
    return f"{'f' if token.is_forward else 'b'}/{token.key:0{KEY_DIGITS}d}/s"


def _edges(chosen: Sequence[Chosen], token: Token | None, question: Question) -> tuple[int, int]:
    """Return the keys that the two tokens of GetLogEvents name.

    API reference: "If you have reached the end of the stream, it returns the same token you passed in."
    """
    if chosen:
        return chosen[0].event.key, chosen[-1].event.key
    key = token.key if token else key_at(question.start_ms)
    return key, key


def _render_event(chosen: Chosen) -> Members:
    event = chosen.event
    return {"timestamp": event.at_ms, "message": event.text, "ingestionTime": event.ingested_ms}


def _or_end(end_ms: int | None, more: int = 0) -> int:
    return END_OF_TIME_MS if end_ms is None else min(end_ms + more, END_OF_TIME_MS)

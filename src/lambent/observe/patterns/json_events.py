"""Patterns for JSON log events: ``{ $.a.b[0] = "x" && ($.n > 5 || $.c IS NULL) }``."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from lambent.observe.patterns.comparisons import Test, Value, read_comparison, skip_spaces
from lambent.observe.patterns.invalid import InvalidFilterPattern
from lambent.observe.patterns.texts import require_few_expressions

# User guide, "Quotas": one wildcard selector in a property selector, three in a pattern with compound expressions.
WILDCARDS_LIMIT: Final = 3
NESTING_LIMIT: Final = 50  # of parentheses

_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_INDEX: Final = re.compile(r"\[\s*(\d{1,9}|\*)\s*\]")
_BRACKET_NAME: Final = re.compile(r"\[\s*(?:'([^']+)'|\"([^\"]+)\")\s*\]")
_IS: Final = re.compile(r"\s*IS\s+(NULL|TRUE|FALSE)\b", re.IGNORECASE)
_NOT_EXISTS: Final = re.compile(r"\s*NOT\s+EXISTS\b", re.IGNORECASE)

_ANY: Final = object()
_Step = object  # a property's name, an index, or _ANY
_Condition = Callable[[object], bool]  # of the whole event


@dataclass(frozen=True, slots=True)
class JsonPattern:
    """Matches messages that are JSON and meet the conditions; no other message ever matches."""

    condition: _Condition

    def matches(self, message: str) -> bool:
        """Return whether ``message`` is JSON and meets the conditions."""
        try:
            event = msgspec.json.decode(message)
        except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
            return False
        return self.condition(event)


def parse_json_pattern(source: str) -> JsonPattern:
    """Return the pattern between the braces of ``source``; InvalidFilterPattern if it is not well formed."""
    parser = _Parser(source)
    condition = parser.either(0)
    parser.require_end()
    require_few_expressions(parser.expressions)
    if parser.wildcards > WILDCARDS_LIMIT:
        raise InvalidFilterPattern("A filter pattern can have at most 3 wildcard selectors")
    return JsonPattern(condition)


class _Parser:
    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self.expressions = 0
        self.wildcards = 0

    def require_end(self) -> None:
        if skip_spaces(self._source, self._at) != len(self._source):
            raise InvalidFilterPattern()

    def either(self, depth: int) -> _Condition:
        conditions = [self._both(depth)]
        while self._takes("||"):
            conditions.append(self._both(depth))
        return conditions[0] if len(conditions) == 1 else lambda event: any(holds(event) for holds in conditions)

    def _both(self, depth: int) -> _Condition:
        conditions = [self._single(depth)]
        while self._takes("&&"):
            conditions.append(self._single(depth))
        return conditions[0] if len(conditions) == 1 else lambda event: all(holds(event) for holds in conditions)

    def _single(self, depth: int) -> _Condition:
        if depth > NESTING_LIMIT:
            raise InvalidFilterPattern()
        if not self._takes("("):
            return self._comparison()
        condition = self.either(depth + 1)
        if not self._takes(")"):
            raise InvalidFilterPattern()
        return condition

    def _takes(self, sign: str) -> bool:
        at = skip_spaces(self._source, self._at)
        if not self._source.startswith(sign, at):
            return False
        self._at = at + len(sign)
        return True

    def _comparison(self) -> _Condition:
        steps = self._selector()
        # User guide: "IS" takes NULL, TRUE or FALSE; "The variables IS NOT and EXISTS currently aren't supported."
        if (found := _IS.match(self._source, self._at)) is not None:
            self._at = found.end()
            wanted = {"NULL": None, "TRUE": True, "FALSE": False}[found[1].upper()]
            return lambda event: any(value is wanted for value in select(event, steps))
        if (found := _NOT_EXISTS.match(self._source, self._at)) is not None:
            self._at = found.end()
            return lambda event: next(select(event, steps), _ANY) is _ANY
        comparison = read_comparison(self._source, self._at)
        if comparison is None:
            raise InvalidFilterPattern()
        self._at = comparison.end
        self.expressions += comparison.is_expression
        test = comparison.test
        return lambda event: any(_holds(test, value) for value in select(event, steps))

    def _selector(self) -> tuple[_Step, ...]:
        if not self._takes("$"):
            raise InvalidFilterPattern()
        steps: list[_Step] = []
        while (step := self._step()) is not None:
            steps.append(step)
        wildcards = steps.count(_ANY)
        if not steps or wildcards > 1:
            raise InvalidFilterPattern()
        self.wildcards += wildcards
        return tuple(steps)

    def _step(self) -> _Step | None:
        at = self._at
        if self._source.startswith(".", at):
            at += 1
            if self._source.startswith("*", at):
                self._at = at + 1
                return _ANY
            if (found := _NAME.match(self._source, at)) is not None:
                self._at = found.end()
                return found[0]
            if not self._source.startswith("[", at):
                raise InvalidFilterPattern()
        if (found := _BRACKET_NAME.match(self._source, at)) is not None:
            self._at = found.end()
            return found[1] or found[2]
        if (found := _INDEX.match(self._source, at)) is not None:
            self._at = found.end()
            return _ANY if found[1] == "*" else int(found[1])
        return None


def select(event: object, steps: Sequence[_Step]) -> Iterator[object]:
    """Yield what ``steps`` lead to in ``event``: nothing where a property or an element is missing."""
    if not steps:
        yield event
        return
    step, rest = steps[0], steps[1:]
    if step is _ANY:
        inner = event.values() if isinstance(event, Mapping) else event if isinstance(event, list) else ()
        for value in inner:
            yield from select(value, rest)
    elif isinstance(step, str) and isinstance(event, Mapping):
        if step in event:
            yield from select(event[step], rest)
    elif isinstance(step, int) and isinstance(event, list) and step < len(event):
        yield from select(event[step], rest)


def _holds(test: Test, value: object) -> bool:
    # User guide: a selector must lead to a string or a number; led to an array or object, both "= 1" and "!= 1" fail.
    # A missing property fails both too (public reports of metric filters).
    match value:
        case bool():
            return test(Value("true" if value else "false"))
        case str():
            return test(Value(value))
        case int() | float():
            return test(Value(repr(value), value))
        case _:
            return False

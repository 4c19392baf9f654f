"""Patterns for space-delimited log events: ``[ip, user, ..., status = 4* || status = 500, bytes > 1000]``."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from lambent.observe.patterns.comparisons import Test, Value, read_comparison, skip_spaces
from lambent.observe.patterns.invalid import InvalidFilterPattern
from lambent.observe.patterns.texts import parse_number, require_few_expressions

_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_ELLIPSIS: Final = "..."
_FieldTest = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class FieldsPattern:
    """Matches messages by their fields. ``gap`` is where the ellipsis stands among the tests, if there is one."""

    tests: tuple[_FieldTest | None, ...]  # None: a name alone, without a condition
    gap: int | None = None

    def matches(self, message: str) -> bool:
        """Return whether ``message`` has these fields and they meet their conditions."""
        fields = split_fields(message)
        if self.gap is not None:
            if len(fields) < len(self.tests):
                return False
            behind = len(self.tests) - self.gap
            fields = [*fields[: self.gap], *(fields[-behind:] if behind else [])]
        elif len(fields) > len(self.tests) and self.tests[-1] is None:
            # User guide, "Match terms in order": [w1=ERROR, w2] returns "ERROR 09/25/2014 12:00:02 Failed to process
            # request": a last field without a condition takes all that is left. (Assumed to hold generally.)
            fields = fields[: len(self.tests)]
        if len(fields) != len(self.tests):
            return False
        return all(test is None or test(value) for test, value in zip(self.tests, fields, strict=True))


def parse_fields_pattern(source: str) -> FieldsPattern:
    """Return the pattern between the brackets of ``source``; InvalidFilterPattern if it is not well formed."""
    parser = _Parser(source)
    tests, gap = parser.fields()
    require_few_expressions(parser.expressions)
    return FieldsPattern(tuple(tests), gap)


def split_fields(message: str) -> list[str]:
    """Return the fields of a space-delimited message.

    User guide: characters between brackets or double quotation marks are one field, without those marks.
    """
    fields, at = [], skip_spaces(message, 0)
    while at < len(message):
        closing = {"[": "]", '"': '"'}.get(message[at])
        end = message.find(closing, at + 1) if closing else -1
        if end >= 0:
            fields.append(message[at + 1 : end])
            end += 1
        else:
            end = at
            while end < len(message) and not message[end].isspace():
                end += 1
            fields.append(message[at:end])
        at = skip_spaces(message, end)
    return fields


class _Parser:
    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self.expressions = 0

    def fields(self) -> tuple[list[_FieldTest | None], int | None]:
        tests: list[_FieldTest | None] = []
        gap: int | None = None
        while True:
            self._at = skip_spaces(self._source, self._at)
            if self._source.startswith(_ELLIPSIS, self._at):
                if gap is not None:
                    raise InvalidFilterPattern()
                gap, self._at = len(tests), skip_spaces(self._source, self._at + len(_ELLIPSIS))
            else:
                tests.append(self._field())
            if self._at >= len(self._source):
                return tests, gap
            if self._source[self._at] != ",":
                raise InvalidFilterPattern()
            self._at += 1

    def _field(self) -> _FieldTest | None:
        name = self._name()
        if not name:
            return None
        alternatives: list[list[Test]] = []
        self._condition(alternatives, starts_alternative=True)
        if not alternatives:
            return None
        while (sign := self._source[self._at : self._at + 2]) in ("&&", "||"):
            self._at = skip_spaces(self._source, self._at + 2)
            # Seen from AWS in a public report: "status_code = 4* && bytes > 1000" in one field is refused.
            if self._name() != name or not self._condition(alternatives, starts_alternative=sign == "||"):
                raise InvalidFilterPattern()
        return _field_test(alternatives)

    def _name(self) -> str:
        found = _NAME.match(self._source, self._at)
        if found is None:
            return ""
        self._at = skip_spaces(self._source, found.end())
        return found[0]

    def _condition(self, alternatives: list[list[Test]], *, starts_alternative: bool) -> bool:
        comparison = read_comparison(self._source, self._at)
        if comparison is None:
            return False
        self._at = skip_spaces(self._source, comparison.end)
        self.expressions += comparison.is_expression
        if starts_alternative:
            alternatives.append([])
        alternatives[-1].append(comparison.test)
        return True


def _field_test(alternatives: Sequence[Sequence[Test]]) -> _FieldTest:
    def holds(text: str) -> bool:
        value = Value(text, parse_number(text))
        return any(all(test(value) for test in tests) for tests in alternatives)

    return holds

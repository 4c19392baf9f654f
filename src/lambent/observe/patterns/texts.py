"""Texts with ``*`` in them, numbers as patterns write them, and reading quoted and ``%…%`` parts."""

import re
from typing import Final

from lambent.observe.patterns.expressions import Expression
from lambent.observe.patterns.invalid import InvalidFilterPattern, invalid_term

# User guide, "Using filter patterns to match terms in JSON log events", "Number" (older edition): integer, decimal or
# scientific notation, each with an optional sign.
NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


class Wildcard:
    """A text in which ``*`` stands for any characters, also none. The whole of a value must match."""

    def __init__(self, source: str) -> None:
        self._parts = source.split("*")

    def matches(self, value: str) -> bool:
        """Return whether all of ``value`` is this text."""
        first, *rest = self._parts
        if not rest:
            return value == first
        *middle, last = rest
        if len(value) < len(first) + len(last) or not value.startswith(first) or not value.endswith(last):
            return False
        at, end = len(first), len(value) - len(last)
        for part in middle:
            found = value.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return True


def parse_number(text: str) -> float | None:
    """Return the number that ``text`` is, or None."""
    return float(text) if NUMBER.fullmatch(text) else None


def read_quoted(source: str, start: int) -> tuple[str, int]:
    r"""Return the text of the double-quoted part at ``start`` and where it ends; ``\"`` and ``\\`` are escapes."""
    chars: list[str] = []
    at = start + 1
    while at < len(source):
        char = source[at]
        if char == '"':
            return "".join(chars), at + 1
        if char == "\\" and source[at + 1 : at + 2] in ('"', "\\"):
            at += 1
            char = source[at]
        chars.append(char)
        at += 1
    raise invalid_term(source[start:])


def read_expression(source: str, start: int) -> tuple[Expression, int]:
    """Return the regular expression between the ``%`` at ``start`` and the next one, and where that ends."""
    end = source.find("%", start + 1)
    if end < 0:
        raise invalid_term(source[start:])
    return Expression(source[start + 1 : end]), end + 1


def require_few_expressions(count: int) -> None:
    """Raise InvalidFilterPattern for more regular expressions than one JSON or space-delimited pattern may have."""
    # User guide, "Quotas": "a limit of 2 regex for each filter pattern when creating a delimited or JSON filter
    # pattern".
    if count > 2:
        raise InvalidFilterPattern("A filter pattern can have at most 2 regular expressions")

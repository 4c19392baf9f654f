"""One condition on one value: an operator with a text, a number, a wildcard or a regular expression."""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from lambent.observe.patterns.invalid import InvalidFilterPattern, invalid_term
from lambent.observe.patterns.texts import Wildcard, parse_number, read_expression, read_quoted


@dataclass(frozen=True, slots=True)
class Value:
    """What a condition looks at: a text, and the number it is or stands for, if it does."""

    text: str
    number: float | None = None


Test = Callable[[Value], bool]

_OPERATOR: Final = re.compile(r"<=|>=|!=|=|<|>")
# User guide, "String": what is not alphanumeric or underscore must be quoted; dots, signs and stars stand in the
# guide's own unquoted examples (123.123.*, 1e-3, *.html*).
_BARE: Final = re.compile(r"[A-Za-z0-9_.*+:/@#$-]+")
_ORDERS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A condition read from a pattern, where it ends, and whether it holds a regular expression."""

    test: Test
    end: int
    is_expression: bool = False


def read_operator(source: str, at: int) -> tuple[str, int] | None:
    """Return the operator at ``at`` and where it ends, or None."""
    found = _OPERATOR.match(source, at)
    return (found[0], found.end()) if found else None


def read_comparison(source: str, at: int) -> Comparison | None:
    """Return the condition ``operator value`` at ``at`` (spaces allowed), or None where no operator stands."""
    at = skip_spaces(source, at)
    if (found := read_operator(source, at)) is None:
        return None
    sign, at = found
    at = skip_spaces(source, at)
    if sign in _ORDERS:
        return _read_order(sign, source, at)
    equal, end, is_expression = _read_equality(source, at)
    if sign == "=":
        return Comparison(equal, end, is_expression)
    return Comparison(lambda value: not equal(value), end, is_expression)


def skip_spaces(source: str, at: int) -> int:
    """Return where the spaces at ``at`` end."""
    while at < len(source) and source[at].isspace():
        at += 1
    return at


def _read_order(sign: str, source: str, at: int) -> Comparison:
    found = _BARE.match(source, at)
    if found is None or (bound := parse_number(found[0])) is None:
        raise InvalidFilterPattern()
    holds, limit = _ORDERS[sign], bound
    return Comparison(lambda value: value.number is not None and holds(value.number, limit), found.end())


def _read_equality(source: str, at: int) -> tuple[Test, int, bool]:
    if source[at : at + 1] == '"':
        text, end = read_quoted(source, at)
        return _text_test(text), end, False
    if source[at : at + 1] == "%":
        expression, end = read_expression(source, at)
        return (lambda value: expression.search(value.text)), end, True
    found = _BARE.match(source, at)
    if found is None:
        raise invalid_term(source[at : at + 1]) if source[at : at + 1] else InvalidFilterPattern()
    number = parse_number(found[0])
    return (_text_test(found[0]) if number is None else _number_test(number, found[0])), found.end(), False


def _text_test(text: str) -> Test:
    wildcard = Wildcard(text)
    return lambda value: wildcard.matches(value.text)


def _number_test(number: float, text: str) -> Test:
    return lambda value: value.text == text if value.number is None else value.number == number

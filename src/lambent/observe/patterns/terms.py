"""Patterns for unstructured log events: terms, ``?optional`` ones, ``-excluded`` ones, phrases and expressions."""

from collections.abc import Callable
from dataclasses import dataclass, field

from lambent.observe.patterns.invalid import invalid_term
from lambent.observe.patterns.texts import read_expression, read_quoted

Found = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class TermsPattern:
    """Matches by what a message contains; case counts."""

    required: tuple[Found, ...] = ()
    optional: tuple[Found, ...] = ()
    excluded: tuple[Found, ...] = ()

    def matches(self, message: str) -> bool:
        """Return whether ``message`` has all required terms, none of the excluded, and one of the optional.

        Optional terms count only alone: beside others they are ignored.
        """
        # User guide, "Match optional terms", note: "If you combine "?" with other filter patterns, all question
        # mark terms will be ignored."
        if self.optional and not self.required and not self.excluded:
            return any(found(message) for found in self.optional)
        return all(found(message) for found in self.required) and not any(found(message) for found in self.excluded)


@dataclass(slots=True)
class _Terms:
    required: list[Found] = field(default_factory=list)
    optional: list[Found] = field(default_factory=list)
    excluded: list[Found] = field(default_factory=list)


def parse_terms(source: str) -> TermsPattern:
    """Return the pattern that ``source`` writes; InvalidFilterPattern if it has a term CloudWatch Logs refuses."""
    terms, at = _Terms(), 0
    while at < len(source):
        if source[at].isspace():
            at += 1
            continue
        target = terms.required
        if source[at] in "?-":
            target = terms.optional if source[at] == "?" else terms.excluded
            at = _skip_spaces(source, at + 1)
        found, at = _read_term(source, at)
        target.append(found)
    return TermsPattern(tuple(terms.required), tuple(terms.optional), tuple(terms.excluded))


def _skip_spaces(source: str, at: int) -> int:
    # User guide (older edition), example 3: "ERROR" - "Exiting", with a space behind the minus.
    while at < len(source) and source[at].isspace():
        at += 1
    return at


def _read_term(source: str, at: int) -> tuple[Found, int]:
    if source[at : at + 1] == '"':
        phrase, end = read_quoted(source, at)
        # Seen from AWS in a public report: Invalid character(s) in term '""'.
        if not phrase:
            raise invalid_term('""')
        # User guide, "Match everything": '" "' returns all log events.
        return (_everything if phrase.isspace() else _contains(phrase)), end
    if source[at : at + 1] == "%":
        expression, end = read_expression(source, at)
        return expression.search, end
    end = at
    while end < len(source) and not source[end].isspace():
        end += 1
    word = source[at:end]
    # User guide: "Enclose exact phrases and terms that include non-alphanumeric characters in double quotation
    # marks"; the older edition exempts the underscore.
    if not word or not all(char.isalnum() or char == "_" for char in word):
        raise invalid_term(word or source[at - 1 : at])
    return _contains(word), end


def _contains(part: str) -> Found:
    # User guide (older edition), example 2: "ERROR" matches "Exiting with ERRORCODE: -1": a term is any part.
    return lambda message: part in message


def _everything(_message: str) -> bool:
    return True

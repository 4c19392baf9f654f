"""The filter pattern language of CloudWatch Logs: one text in, one test of messages out.

Source: CloudWatch Logs user guide, "Filter pattern syntax for metric filters, subscription filters, filter log events,
and Live Tail". What the guide leaves open is written down in docs/fidelity.md.
"""

from typing import Protocol

from lambent.observe.patterns.fields import parse_fields_pattern
from lambent.observe.patterns.invalid import InvalidFilterPattern
from lambent.observe.patterns.json_events import parse_json_pattern
from lambent.observe.patterns.terms import parse_terms


class FilterPattern(Protocol):
    """A parsed filter pattern. Not for two threads at once."""

    def matches(self, message: str) -> bool:
        """Return whether the pattern selects a log event with this message."""
        ...


def parse_filter_pattern(source: str) -> FilterPattern:
    """Return the pattern that ``source`` writes: JSON in braces, fields in brackets, else terms.

    The empty pattern selects every message. Raises InvalidFilterPattern for what CloudWatch Logs refuses.
    """
    text = source.strip()
    for opening, closing, parse in (("{", "}", parse_json_pattern), ("[", "]", parse_fields_pattern)):
        if text.startswith(opening):
            # Seen from AWS in a public report, word for word for "{".
            if len(text) < 2 or not text.endswith(closing):
                raise InvalidFilterPattern(f"If a filter pattern starts with '{opening}' it must end with '{closing}'")
            return parse(text[1:-1])
    return parse_terms(text)

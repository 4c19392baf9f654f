"""What a line of a function says of itself when the log format is JSON: its level and its time."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from lambent.observe.lines import Level

_RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


class _Fields(msgspec.Struct):
    """The members that matter; all others are skipped without being built."""

    level: object = None
    # Developer guide, "Log-level filtering": "Lambda supports most common naming conventions"; which is assumed.
    timestamp: object = None
    time: object = None
    at_timestamp: object = msgspec.field(default=None, name="@timestamp")


_DECODER: Final = msgspec.json.Decoder(_Fields)


@dataclass(frozen=True, slots=True)
class ApplicationLine:
    """The level of a line, and the time it gives itself, if it does."""

    level: Level
    at: datetime | None = None


def read_application_line(message: bytes) -> ApplicationLine:
    """Return level and time of one line of the function.

    Same page: a line that is no JSON object, has no valid ``level``, or has no valid RFC 3339 timestamp is INFO.
    """
    if not message.lstrip().startswith(b"{"):
        return ApplicationLine(Level.INFO)
    try:
        line = _DECODER.decode(message)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return ApplicationLine(Level.INFO)
    at = parse_rfc_3339(line.timestamp) or parse_rfc_3339(line.time) or parse_rfc_3339(line.at_timestamp)
    return ApplicationLine(parse_level(line.level) or Level.INFO, at) if at else ApplicationLine(Level.INFO)


def parse_level(text: object) -> Level | None:
    """Return the level called ``text``, in upper or lower case, or None."""
    if not isinstance(text, str) or text not in (text.upper(), text.lower()):
        return None
    return Level.__members__.get(text.upper())


def parse_rfc_3339(text: object) -> datetime | None:
    """Return the instant that ``text`` writes by RFC 3339, or None."""
    if not isinstance(text, str) or not _RFC_3339.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError:
        return None

"""The three forms in which the AWS protocols write an instant."""

from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

EPOCH, ISO8601, RFC822 = "unixTimestamp", "iso8601", "rfc822"


def parse_timestamp(value: Any) -> datetime:
    """Return the aware UTC instant that ``value`` (seconds, ISO 8601, RFC 822) names, or raise ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _from_epoch(float(value))
    if not isinstance(value, str):
        raise ValueError(f"{type(value).__name__} is no timestamp")
    try:
        return _from_epoch(float(value))
    except ValueError:
        pass
    moment = _parse_text(value)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def render_timestamp(moment: datetime, form: str) -> float | int | str:
    """Return ``moment`` as the protocols write it, to the millisecond."""
    if form == ISO8601:
        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
    if form == RFC822:
        return format_datetime(moment.astimezone(UTC).replace(microsecond=0), usegmt=True)
    seconds = round(moment.timestamp(), 3)
    return int(seconds) if seconds.is_integer() else seconds


def _from_epoch(seconds: float) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError) as error:
        raise ValueError("out of range") from error


def _parse_text(value: str) -> datetime:
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return parsedate_to_datetime(value)

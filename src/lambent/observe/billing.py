"""What invocations cost: requests, billed milliseconds and GB-seconds, by function and month, exactly.

Pricing page of AWS Lambda: duration is billed by the millisecond, times the memory configured; a GB is 1,024 MB.
Prices and the free tier are applied by whoever reads this. In memory: a restart begins anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from fractions import Fraction
from typing import Final

from lambent.model.ids import Scope
from lambent.model.invocations import InvocationRecord

MONTHS_LIMIT: Final = 13  # kept; the oldest goes


@dataclass(frozen=True, slots=True)
class Bill:
    """What one function, or several, used."""

    requests: int = 0
    billed_ms: int = 0
    mib_ms: int = 0  # memory times billed duration, whole numbers so that nothing is rounded

    @property
    def gb_seconds(self) -> Fraction:
        """The GB-seconds, exactly."""
        return Fraction(self.mib_ms, 1024 * 1000)

    def __add__(self, other: "Bill") -> "Bill":
        """Return both together."""
        return Bill(self.requests + other.requests, self.billed_ms + other.billed_ms, self.mib_ms + other.mib_ms)


class Billing:
    """Adds up invocation records. A sink of them."""

    def __init__(self) -> None:
        self._months: dict[str, dict[tuple[Scope, str], Bill]] = {}

    async def take_records(self, records: Sequence[InvocationRecord]) -> None:
        """Add a batch; an invocation belongs to the month (UTC) in which it started."""
        for record in records:
            month = f"{record.started_at.astimezone(UTC):%Y-%m}"
            bills = self._months.setdefault(month, {})
            key = (record.scope, record.function_name)
            bill = Bill(1, record.billed_ms, record.memory_mib * record.billed_ms)
            bills[key] = bills.get(key, Bill()) + bill
        while len(self._months) > MONTHS_LIMIT:
            del self._months[min(self._months)]

    def bills(self, scope: Scope, month: str) -> Mapping[str, Bill]:
        """Return the bills of a month (``2026-11``) by function name."""
        return {name: bill for (owner, name), bill in self._months.get(month, {}).items() if owner == scope}

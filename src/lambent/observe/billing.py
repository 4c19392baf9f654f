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
        used: dict[tuple[int, int, str, str, str, int], list[int]] = {}
        for record in records:
            at, scope = record.started_at.astimezone(UTC), record.scope
            key = (at.year, at.month, scope.account_id, scope.region, record.function_name, record.memory_mib)
            if (alike := used.get(key)) is None:
                alike = used[key] = []
            alike.append(record.billed_ms)
        for (year, month, account_id, region, name, memory_mib), billed in used.items():
            bills = self._months.setdefault(f"{year:04d}-{month:02d}", {})
            owner = (Scope(account_id, region), name)
            bills[owner] = bills.get(owner, Bill()) + Bill(len(billed), sum(billed), memory_mib * sum(billed))
        while len(self._months) > MONTHS_LIMIT:
            del self._months[min(self._months)]

    def bills(self, scope: Scope, month: str) -> Mapping[str, Bill]:
        """Return the bills of a month (``2026-11``) by function name."""
        return {name: bill for (owner, name), bill in self._months.get(month, {}).items() if owner == scope}

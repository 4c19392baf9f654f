"""What a load test plans and finds: steps, what came of each call, percentiles. Pure; nothing here waits."""

import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lambent.cli.client import CommandFailed

MAX_CLIENTS = 1000  # each is a connection, and so a descriptor here and at the server
MAX_STEPS = 50


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a load: so many clients at once in each, ``seconds`` long; ``rate`` calls a second if open."""

    ramp: tuple[int, ...]
    seconds: float
    rate: float | None = None

    @property
    def method(self) -> str:
        """Say how latency is measured."""
        if self.rate is None:
            return (
                "closed loop: each client calls again once it is answered, so a server that stalls is asked less, and "
                "latencies are of the calls that were made (--rate R measures from when a call was due)"
            )
        return (
            f"open loop: {self.rate:g} calls/s are due, whatever the answers; latency counts from when a call was due"
        )


@dataclass(frozen=True, slots=True)
class Called:
    """What came of one call: its latency, whether an environment was made for it, and why it was not served."""

    latency_s: float
    is_cold: bool = False
    throttle: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class StepFigures:
    """What one step found. Latencies are of served and of unfinished calls, in milliseconds; None without any."""

    clients: int
    elapsed_s: float
    served: int
    cold: int
    unfinished: int
    throttles: Mapping[str, int]
    errors: Mapping[str, int]
    latency_ms: Mapping[str, float] | None

    @property
    def throughput(self) -> float:
        """Served calls a second."""
        return self.served / self.elapsed_s if self.elapsed_s else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return it as ``--json`` prints it."""
        return {
            "clients": self.clients,
            "elapsed_s": round(self.elapsed_s, 3),
            "served": self.served,
            "throughput_per_s": round(self.throughput, 2),
            "latency_ms": self.latency_ms,
            "cold_starts": self.cold,
            "throttles": dict(self.throttles),
            "errors": dict(self.errors),
            "unfinished": self.unfinished,
        }


@dataclass(slots=True)
class Tally:
    """Counts calls while a step goes on."""

    clients: int
    cold: int = 0
    served: int = 0
    unfinished: int = 0
    throttles: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    _latencies_s: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, call: Called) -> None:
        """Count a call that was answered, or refused."""
        self.cold += call.is_cold
        if call.throttle:
            self.throttles[call.throttle] += 1
        elif call.error:
            self.errors[call.error] += 1
        else:
            self.served += 1
            self._latencies_s.append(call.latency_s)

    def add_unfinished(self, waited_s: float) -> None:
        """Count a call that was due and has no answer: leaving it out would hide the slowest ones."""
        self.unfinished += 1
        self._latencies_s.append(waited_s)

    def figures(self, elapsed_s: float) -> StepFigures:
        """Return what was found in ``elapsed_s``."""
        ordered = sorted(self._latencies_s)
        shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
        latency_ms = {name: round(percentile(ordered, share) * 1000, 3) for name, share in shares.items()}
        return StepFigures(
            self.clients,
            elapsed_s,
            self.served,
            self.cold,
            self.unfinished,
            dict(self.throttles),
            dict(self.errors),
            latency_ms if ordered else None,
        )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the least value that ``share`` of the ordered values do not exceed (nearest rank); 0 of none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def decide_ramp(listed: str | None, first: int | None, last: int | None, steps: int | None) -> tuple[int, ...]:
    """Return the clients of each step: as listed, or evenly from first to last. CommandFailed if it is none."""
    if listed is not None and (first, last, steps) != (None, None, None):
        raise CommandFailed("--ramp says all steps; --from, --to and --steps say them otherwise: give one of both")
    if listed is None and (first, last, steps) == (None, None, None):
        listed = "1,2,4,8"
    if listed is None:
        ramp = _even_ramp(first or 1, last or max(8, first or 1), steps or 4)
    else:
        try:
            ramp = tuple(int(each) for each in listed.split(","))
        except ValueError:
            raise CommandFailed(f"--ramp wants numbers such as 1,2,4,8, not {listed!r}") from None
    if len(ramp) > MAX_STEPS or not all(1 <= clients <= MAX_CLIENTS for clients in ramp):
        raise CommandFailed(f"a ramp has at most {MAX_STEPS} steps of 1 to {MAX_CLIENTS} clients")
    return ramp


def _even_ramp(first: int, last: int, steps: int) -> tuple[int, ...]:
    if steps == 1:
        return (last,)
    return tuple(round(first + (last - first) * at / (steps - 1)) for at in range(steps))

"""Interleaved rounds, percentiles, CPU time of processes, and the table of goals."""

import json
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One goal as measured: ``ratio`` of ``subject`` over ``baseline``; ``holds`` is the verdict.

    A row that is for information only has no ``limit``, and goal 0 where there is none near.
    """

    goal: int
    name: str
    ratio: float
    limit: float | None
    holds: bool
    subject: str
    baseline: str
    rounds: int


def at_most(
    goal: int, name: str, subject: Sequence[float], baseline: Sequence[float], limit: float | None, unit: str
) -> Row:
    """Return the row of a goal that wants the median of the rounds' ratios to be at most ``limit``."""
    ratio = median_ratio(subject, baseline)
    holds = limit is None or ratio <= limit
    return Row(goal, name, round(ratio, 4), limit, holds, _text(subject, unit), _text(baseline, unit), len(subject))


def at_least(goal: int, name: str, subject: Sequence[float], baseline: Sequence[float], limit: float, unit: str) -> Row:
    """Return the row of a goal that wants the median of the rounds' ratios to be at least ``limit``."""
    ratio = median_ratio(subject, baseline)
    holds = ratio >= limit
    return Row(goal, name, round(ratio, 4), limit, holds, _text(subject, unit), _text(baseline, unit), len(subject))


def median_ratio(subject: Sequence[float], baseline: Sequence[float]) -> float:
    """Return the median of the rounds' ratios: drift between rounds cancels out."""
    return statistics.median(s / b for s, b in zip(subject, baseline, strict=True))


def _text(values: Sequence[float], unit: str) -> str:
    return f"{statistics.median(values):.4g} {unit} (min {min(values):.4g}, max {max(values):.4g})"


class Samples:
    """Per round, the latencies of one subject in seconds; and what its rounds' percentiles are."""

    def __init__(self) -> None:
        self.rounds: dict[str, list[list[float]]] = defaultdict(list)

    def add(self, name: str, latencies_s: Sequence[float]) -> None:
        """Take one round of ``name``."""
        self.rounds[name].append(sorted(latencies_s))

    def percentile(self, name: str, percent: float) -> list[float]:
        """Return the percentile of each round, in milliseconds."""
        return [each[min(len(each) - 1, int(len(each) * percent / 100))] * 1000 for each in self.rounds[name]]


def cpu_s(pid: int) -> float:
    """Return the CPU time that process ``pid`` used so far, from the scheduler's nanoseconds of all its threads."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def memory_mib(pid: int) -> float:
    """Return the resident memory of process ``pid``."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def host_facts() -> str:
    """Return what a reader of the numbers must know of this host."""
    version = "v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1"
    load = os.getloadavg()[0]
    kernel = os.uname().release
    return f"{os.cpu_count()} cores, load {load:.2f}, Linux {kernel}, cgroup {version}, {time.strftime('%F %T')}"


def print_rows(rows: Sequence[Row]) -> None:
    """Print the table of goals."""
    for row in rows:
        sign = "" if row.limit is None else "holds" if row.holds else "MISSED"
        limit = "no goal" if row.limit is None else f"limit {row.limit:g}"
        print(f"goal {row.goal:>2}  {sign:<6}  {row.name}: {row.ratio:g} ({limit}), {row.rounds} rounds", flush=True)
        print(f"         subject {row.subject}; baseline {row.baseline}")


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write the rows as a JSON list."""
    path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")

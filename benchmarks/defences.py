"""What defences inside a sandbox cost, warm and in a spawned sandbox, beside a whole Lambent that lacks them."""

from collections.abc import Mapping
from contextlib import ExitStack
from types import MappingProxyType
from typing import Final

from benchmarks.bench import Row, Samples, at_most
from benchmarks.plan import Plan
from benchmarks.subjects import Lambent, open_lambent

# By the words of the row. Few, as each is a whole Lambent that runs beside the others.
DEFENCES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "the system call filter": ("seccomp",),
        "no capabilities and no new user namespaces": ("capabilities", "userns"),
    }
)
ALL = "all"
WARM_SHARE = 10  # of a plan's calls: there are many subjects


def measure_defences(plan: Plan) -> list[Row]:
    """Without a goal: p50 with all defences beside p50 without one, in turns. No cells: each cold call spawns."""
    samples = Samples()
    with ExitStack() as stack:
        subjects = {
            title: stack.enter_context(open_lambent(weaken=weaken, max_cells=0))
            for title, weaken in {ALL: (), **DEFENCES}.items()
        }
        for subject in subjects.values():
            subject.register(["f", *(each for number in range(plan.rounds) for each in _new(plan, number))])
            subject.wait_for("f")
        for subject in subjects.values():
            subject.settle()
        for number in range(plan.rounds):
            _measure_round(samples, subjects, plan, number)
    p50 = {title: samples.percentile(title, 50) for title in samples.rounds}
    return [
        at_most(0, f"{kind} p50, beside without {title}", p50[f"{kind} {ALL}"], p50[f"{kind} {title}"], None, "ms")
        for title in DEFENCES
        for kind in ("warm", "spawned")
    ]


def _measure_round(samples: Samples, subjects: Mapping[str, Lambent], plan: Plan, number: int) -> None:
    spawned: dict[str, list[float]] = {title: [] for title in subjects}
    for name in _new(plan, number):
        for title, subject in subjects.items():
            spawned[title] += subject.invoke_each([name]).latencies_s
    for title, subject in subjects.items():
        samples.add(f"spawned {title}", spawned[title])
        samples.add(f"warm {title}", subject.drive(clients=1, count=max(plan.calls // WARM_SHARE, 2)).latencies_s)


def _new(plan: Plan, number: int) -> list[str]:
    return [f"new-{number}-{each}" for each in range(plan.spawns)]

"""What freezing between invocations costs callers who come back at once, and what it costs those who do not."""

import time
from contextlib import ExitStack

from benchmarks.bench import Row, Samples, at_least, at_most
from benchmarks.goals import CLIENTS, Numbers
from benchmarks.plan import Plan
from benchmarks.subjects import Lambent, open_lambent

PAUSE_S = 0.05  # longer than two graces
PAUSED_SHARE = 20  # of so many calls in a row one is made after a pause, as pauses take long


def measure_freezing(plan: Plan) -> list[Row]:
    """Goal 10: the same server with freezing and without; without a goal, a call that finds its function frozen."""
    samples, rates, cpu = Samples(), Numbers(), Numbers()
    with ExitStack() as stack:
        subjects = {
            "on": stack.enter_context(open_lambent()),
            "off": stack.enter_context(open_lambent(freeze_grace_ms=0)),
        }
        for subject in subjects.values():
            subject.register(["f"])
            subject.wait_for("f")
            for _ in range(3):
                subject.drive(clients=CLIENTS, count=100)
        for _ in range(plan.rounds):
            for title, subject in subjects.items():
                before = subject.cpu_s()
                rates.add(title, subject.drive(clients=CLIENTS, count=plan.calls_each).rate)
                subject.settle()
                cpu.add(title, (subject.cpu_s() - before) / (CLIENTS * plan.calls_each) * 1e6)
                rates.add(f"{title} 1", subject.drive(clients=1, count=plan.calls).rate)
                samples.add(title, _drive_with_pauses(subject, max(plan.calls // PAUSED_SHARE, 1)))
    paused = {title: samples.percentile(title, 50) for title in subjects}
    return [
        at_least(10, "rate of 8 clients with freezing, beside without", rates["on"], rates["off"], 0.95, "/s"),
        at_least(10, "rate of 1 client with freezing, beside without", rates["on 1"], rates["off 1"], 0.95, "/s"),
        at_most(10, "server CPU per call with freezing, 8 clients, beside without", cpu["on"], cpu["off"], 1.05, "us"),
        at_most(
            0, "p50 after a pause, so of a frozen function, beside without", paused["on"], paused["off"], None, "ms"
        ),
    ]


def _drive_with_pauses(subject: Lambent, count: int) -> list[float]:
    latencies_s = []
    for _ in range(count):
        time.sleep(PAUSE_S)
        latencies_s += subject.drive(clients=1, count=1).latencies_s
    return latencies_s

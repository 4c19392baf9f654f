"""What a durable 202 costs beside its two parts, how it grows with clients, and whether a long queue drains evenly."""

import base64
import io
import json
import sqlite3
import tempfile
import time
import zipfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.bench import Row, Samples, at_least, at_most
from benchmarks.functions import EVENT, HANDLER, ROLE, RUNTIME
from benchmarks.goals import Numbers, Plan
from benchmarks.load import DIFFERENT, FUNCTIONS, Load, drive, signed
from benchmarks.subjects import Lambent, open_bare_server, open_lambent

MANY = 64
# It holds the few events that are in hand, so that what is measured is taking events in and nothing else.
SLEEPER = "import time\ndef handler(event, context):\n    time.sleep(800)\n"
LOOK_S = 1.0


def measure_queued(plan: Plan) -> list[Row]:
    """Goal 9: K is one row committed on the same disk, H the bare answer, N the same server's answer to a dry run."""
    samples, rates = Samples(), Numbers()
    with ExitStack() as stack:
        lambent = stack.enter_context(open_lambent(drain_s=1))
        bare = stack.enter_context(open_bare_server())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lambent-bench-")))
        _create(lambent, "sleeper", SLEEPER)
        events, dry_runs = _requests(lambent, "sleeper", "Event"), _requests(lambent, "sleeper", "DryRun")
        _send(lambent, events, clients=1, count=20)
        lambent.settle()
        for _ in range(plan.rounds):
            samples.add("K", _commits(folder, plan.calls // 3))
            samples.add("H", bare.drive(clients=1, count=plan.calls).latencies_s)
            load = _send(lambent, events, clients=1, count=plan.calls)
            samples.add("202", load.latencies_s)
            rates.add("1", load.rate)
            rates.add("N", _send(lambent, dry_runs, clients=MANY, count=plan.calls // 10).rate)
            rates.add("64", _send(lambent, events, clients=MANY, count=plan.calls // 10).rate)
    parts = [
        commit + answer for commit, answer in zip(samples.percentile("K", 50), samples.percentile("H", 50), strict=True)
    ]
    return [
        at_most(9, "durable 202 p50, signed, 1 client, beside K + H", samples.percentile("202", 50), parts, 1.6, "ms"),
        at_least(9, "rate of durable 202s to 64 clients, beside N's", rates["64"], rates["N"], 0.5, "/s"),
        at_least(9, "rate of durable 202s to 64 clients, beside 1 client's", rates["64"], rates["1"], 3, "/s"),
        *_measure_drain(plan),
    ]


def _measure_drain(plan: Plan) -> list[Row]:
    """A long queue: the last tenth of it beside the first, and memory beside what it was before."""
    with open_lambent() as lambent:
        lambent.register(["f"])
        lambent.wait_for("f")
        lambent.settle()
        memory_mib = lambent.memory_mib()
        _send(lambent, _requests(lambent, "f", "Event"), clients=MANY, count=plan.functions * 2 // MANY)
        most_mib, ends = lambent.memory_mib(), _watch_drain(lambent)
    tenth = max(len(ends) // 10, 1)
    first, last = (_rate(part) for part in (ends[: 2 * tenth + 1], ends[-2 * tenth - 1 :]))
    what = f"{plan.functions * 2:,} queued events"
    return [
        at_least(0, f"drain rate of the last fifth of {what}, beside the first's", [last], [first], 0.6, "/s"),
        at_most(0, f"server's memory with {what}, beside none", [most_mib], [memory_mib], None, "MiB"),
    ]


def _watch_drain(lambent: Lambent) -> list[tuple[float, int]]:
    """Return (when, how many were left) until nothing is."""
    seen = []
    while True:
        left = lambent.queued("f")
        seen.append((time.monotonic(), left))
        if not left:
            return seen
        time.sleep(LOOK_S)


def _rate(part: list[tuple[float, int]]) -> float:
    (began, before), (ended, after) = part[0], part[-1]
    return (before - after) / max(ended - began, 1e-9)


def _create(lambent: Lambent, name: str, source: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("app.py", source)
    members = {
        "FunctionName": name, "Runtime": RUNTIME, "Role": ROLE, "Handler": HANDLER, "Timeout": 900,
        "Code": {"ZipFile": base64.b64encode(buffer.getvalue()).decode()},
    }  # fmt: skip
    request = signed(lambent.host, lambent.port, FUNCTIONS, json.dumps(members).encode())
    drive(lambent.host, lambent.port, [request], clients=1, count=1)
    give_up_at = time.monotonic() + 60
    while True:
        try:
            _send(lambent, _requests(lambent, name, "DryRun"), clients=1, count=1)
            return
        except RuntimeError:  # it is Pending
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.1)


def _requests(lambent: Lambent, name: str, kind: str) -> list[bytes]:
    path, more = f"{FUNCTIONS}/{name}/invocations", {"X-Amz-Invocation-Type": kind}
    return [signed(lambent.host, lambent.port, path, EVENT, more) for _ in range(DIFFERENT)]


def _send(lambent: Lambent, requests: list[bytes], *, clients: int, count: int) -> Load:
    return drive(lambent.host, lambent.port, requests, clients=clients, count=count)


def _commits(folder: Path, count: int) -> list[float]:
    """K: one row of the event's size a commit, synced."""
    db = sqlite3.connect(folder / "k.db", isolation_level=None)
    for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "CREATE TABLE IF NOT EXISTS t(body BLOB)"):
        db.execute(statement)
    latencies_s = []
    for _ in range(count):
        before = time.perf_counter()
        db.execute("INSERT INTO t VALUES(?)", (EVENT * 8,))
        latencies_s.append(time.perf_counter() - before)
    db.close()
    return latencies_s

"""Cold starts of functions that were never invoked before, beside spawning and beside their own imports."""

import json
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bench import Row, Samples, at_most
from benchmarks.floor import Floor, open_floor
from benchmarks.functions import EARLY, EARLY_NODE, HEAVY, NODE, PLAIN, Deployment, caches
from benchmarks.plan import Plan
from benchmarks.subjects import Lambent, open_lambent

CELL_WAIT_S = 60.0
# After a start its cell is being replaced; the next start is not to be measured beside that.
REST_S = 0.2

# I: what is left of a cold start when interpreter and client are there. Bytecode is there, as after a deployment.
IMPORT = """
import sys, time
import awslambdaric.bootstrap
sys.path.insert(0, sys.argv[1])
sys.argv.append(awslambdaric.bootstrap.__name__)
before = time.perf_counter()
import app
app.handler({}, None)
print(time.perf_counter() - before)
"""


def measure_cold(plan: Plan) -> list[Row]:
    """Goals 4, 5, 7 and 12: new functions, each invoked once; S is what the same driver takes to spawn."""
    samples = Samples()
    with open_lambent() as lambent, open_floor() as floor, Imports() as imports:
        names = {each.title: _register(lambent, plan, each) for each in (PLAIN, EARLY, HEAVY, NODE, EARLY_NODE)}
        for title in names:
            lambent.wait_for(f"f-{title}")
        lambent.settle()
        floor.spawn(1)
        floor.drive(environments=1, count=200)
        for number in range(plan.rounds):
            _measure_round(samples, lambent, floor, {title: each[number] for title, each in names.items()})
            samples.add("L", floor.drive(environments=1, count=500).latencies_s)
            for title, deployment in (("I", PLAIN), ("I heavy", HEAVY)):
                samples.add(title, [imports.measure(deployment) for _ in range(plan.spawns)])
    return _rows(samples, plan)


def _rows(samples: Samples, plan: Plan) -> list[Row]:
    p50 = {name: samples.percentile(name, 50) for name in samples.rounds}
    every = [each * 1000 for latencies_s in samples.rounds["plain"] for each in latencies_s]
    beyond = [each - own for each, own in zip(p50["plain"], p50["I"], strict=True)]
    middle, slowest = [statistics.median(every)] * plan.rounds, [_percentile(every, 99)] * plan.rounds
    new = f"{len(every)} new functions"
    return [
        at_most(4, f"cold p50 of {new} without their own import, beside L's warm", beyond, p50["L"], 10, "ms"),
        at_most(4, f"cold p50 of {new}, beside S", p50["plain"], p50["S"], 1 / 10, "ms"),
        at_most(4, f"cold p99 of {new}, beside their p50", slowest, middle, 2.5, "ms"),
        at_most(5, "cold p50 with a heavy import, beside that import", p50["heavy"], p50["I heavy"], 1.15, "ms"),
        at_most(7, "cold p50 without a cell, beside S", p50["early"], p50["S"], 0.25, "ms"),
        at_most(12, "Node.js: cold p50 beside its spawn", p50["node"], p50["early-node"], 1 / 8, "ms"),
    ]


def _measure_round(samples: Samples, lambent: Lambent, floor: Floor, names: dict[str, list[str]]) -> None:
    """Invoke each name once, in turns with each other and with spawns of the driver's own."""
    taken: dict[str, list[float]] = {"S": [], **{title: [] for title in names}}
    for number, name in enumerate(names["plain"]):
        taken["plain"].append(_invoke_born(lambent, name, PLAIN))
        if number >= len(names["heavy"]):
            continue
        taken["S"].append(floor.spawn(1).latencies_s[0])
        taken["early"] += lambent.invoke_each([names["early"][number]]).latencies_s
        taken["heavy"].append(_invoke_born(lambent, names["heavy"][number], HEAVY))
        taken["early-node"] += lambent.invoke_each([names["early-node"][number]]).latencies_s
        taken["node"].append(_invoke_born(lambent, names["node"][number], NODE))
    for title, latencies_s in taken.items():
        samples.add(title, latencies_s)


def _invoke_born(lambent: Lambent, name: str, deployment: Deployment) -> float:
    """Return the seconds of the first call of ``name``, once a cell is ready for it and nothing else goes on."""
    give_up_at = time.monotonic() + CELL_WAIT_S
    before = _cells(lambent, deployment.runtime)
    while not before["ready"]:
        if time.monotonic() > give_up_at:
            raise RuntimeError("no cell became ready")
        time.sleep(0.02)
        before = _cells(lambent, deployment.runtime)
    time.sleep(REST_S)
    latency_s = lambent.invoke_each([name]).latencies_s[0]
    if _cells(lambent, deployment.runtime)["taken"] != before["taken"] + 1:
        raise RuntimeError(f"{name} was not born from a cell")
    return latency_s


def _cells(lambent: Lambent, runtime: str) -> dict[str, int]:
    with urllib.request.urlopen(f"http://{lambent.host}:{lambent.port}/_lambent/status") as answer:
        cells = json.load(answer)["cells"]
    return {"ready": cells["ready"].get(runtime, 0), "taken": cells["taken"]}


def _register(lambent: Lambent, plan: Plan, deployment: Deployment) -> list[list[str]]:
    """Create ``f-TITLE`` and new functions for each round; return their names."""
    count, title = plan.cold if deployment is PLAIN else plan.spawns, deployment.title
    rounds = [[f"{title}-{number}-{each}" for each in range(count)] for number in range(plan.rounds)]
    lambent.register([f"f-{title}", *(name for names in rounds for name in names)], deployment=deployment)
    return rounds


def _percentile(values: Sequence[float], percent: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


class Imports:
    """Measures I: imports a handler in an interpreter that has the runtime client, outside of any sandbox."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="lambent-bench-")

    def measure(self, deployment: Deployment) -> float:
        """Return the seconds that import and first call take."""
        runtimes = caches() / "runtimes"
        interpreter = next((runtimes / "interpreters").glob("python*/bin/python3"))
        runtime = max((runtimes / "runtimes").glob("runtime-python*"), key=lambda path: path.stat().st_mtime)
        folder = Path(self._folder.name) / deployment.title
        if not folder.exists():
            folder.mkdir()
            (folder / "app.py").write_text(deployment.source)
            self.measure(deployment)  # writes the bytecode
        command = [str(interpreter), "-c", IMPORT, str(folder)]
        environ = {"PYTHONPATH": str(runtime), "AWS_DEFAULT_REGION": "us-east-1", "PATH": "/usr/bin:/bin"}
        return float(subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stdout)

    def __enter__(self) -> "Imports":
        return self

    def __exit__(self, *error: object) -> None:
        self._folder.cleanup()

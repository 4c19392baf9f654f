"""The goals of the invoke path, each measured in rounds that alternate between subject and baseline."""

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.bench import Row, Samples, at_least, at_most
from benchmarks.floor import Floor, open_floor
from benchmarks.peers import install_peers, open_ministack, open_moto
from benchmarks.plan import Plan
from benchmarks.subjects import BareServer, Endpoint, Lambent, open_bare_server, open_lambent

CLIENTS = 8


def measure_warm(plan: Plan) -> list[Row]:
    """Goals 1, 2 and 3: Lambent beside the loop over bare environments (L) and the bare answer (H)."""
    samples, rates, cpu = Samples(), Numbers(), Numbers()
    with open_lambent() as lambent, open_floor() as floor, open_bare_server() as bare:
        _warm(lambent, floor, bare)
        for _ in range(plan.rounds):
            samples.add("L 1", floor.drive(environments=1, count=plan.calls).latencies_s)
            samples.add("1", lambent.drive(clients=1, count=plan.calls).latencies_s)
            load = floor.drive(environments=CLIENTS, count=plan.calls_each)
            rates.add("L", load.rate)
            before = lambent.cpu_s()
            load = lambent.drive(clients=CLIENTS, count=plan.calls_each)
            lambent.settle()
            cpu.add("Lambent", (lambent.cpu_s() - before) / (CLIENTS * plan.calls_each) * 1e6)
            rates.add("Lambent", load.rate)
            samples.add("8", load.latencies_s)
            before = bare.cpu_s()
            bare.drive(clients=CLIENTS, count=plan.calls_each * 4)
            cpu.add("H", (bare.cpu_s() - before) / (CLIENTS * plan.calls_each * 4) * 1e6)
    median, eight = samples.percentile("1", 50), samples.percentile("8", 50)
    return [
        at_most(1, "warm p50, signed, 1 client, beside L", median, samples.percentile("L 1", 50), 1.6, "ms"),
        at_most(2, "server CPU per signed invoke, 8 clients, beside H's", cpu["Lambent"], cpu["H"], 10, "us"),
        at_least(3, "rate of 8 clients on 8 environments, beside L's", rates["Lambent"], rates["L"], 0.65, "/s"),
        at_most(3, "p99 of 8 clients beside their p50", samples.percentile("8", 99), eight, 3, "ms"),
    ]


def _warm(lambent: Lambent, floor: Floor, bare: BareServer) -> None:
    lambent.register(["f"])
    lambent.wait_for("f")
    for _ in range(3):
        lambent.drive(clients=CLIENTS, count=100)
        floor.drive(environments=CLIENTS, count=100)
        bare.drive(clients=CLIENTS, count=100)


def measure_scale(plan: Plan) -> list[Row]:
    """Goal 14: many functions registered beside ten."""
    cpu, ready, idle = Numbers(), Numbers(), 0.0
    with tempfile.TemporaryDirectory(prefix="lambent-bench-") as folder:
        places = {"few": Path(folder) / "few", "many": Path(folder) / "many"}
        Path(folder).chmod(0o755)
        for name, count in (("few", 10), ("many", plan.functions)):
            places[name].mkdir(mode=0o755)
            with open_lambent(places[name]) as lambent:
                lambent.register(["f", *_names("other", count - 1)])
                lambent.wait_for("f")
                lambent.settle()
        for _ in range(plan.rounds):
            for name, place in places.items():
                with open_lambent(place) as lambent:
                    ready.add(name, lambent.ready_s)
        with open_lambent(places["few"]) as few, open_lambent(places["many"]) as many:
            for lambent in (few, many):
                lambent.drive(clients=CLIENTS, count=100)
                lambent.settle()
            idle = _idle_cores(many, plan.idle_s)
            for _ in range(plan.rounds):
                for name, lambent in (("few", few), ("many", many)):
                    before = lambent.cpu_s()
                    lambent.drive(clients=CLIENTS, count=plan.calls_each)
                    lambent.settle()
                    cpu.add(name, lambent.cpu_s() - before)
    what = f"{plan.functions:,} functions"
    return [
        at_most(14, f"server CPU per invoke with {what}, beside 10", cpu["many"], cpu["few"], 1.05, "s"),
        at_most(14, f"seconds until ready with {what}", ready["many"], [1.0] * plan.rounds, 1.0, "s"),
        at_most(14, f"seconds until ready with {what}, beside 10", ready["many"], ready["few"], None, "s"),
        at_most(14, f"percent of a core while idle with {what}", [idle * 100], [1.0], 0.5, "%"),
    ]


def _idle_cores(lambent: Lambent, seconds: float) -> float:
    before, since = lambent.own_cpu_s(), time.monotonic()
    time.sleep(seconds)
    return (lambent.own_cpu_s() - before) / (time.monotonic() - since)


def measure_peers(plan: Plan) -> list[Row]:
    """Goal 11: others in the same run. PeersMissing if they cannot be had."""
    commands = install_peers()
    samples, rates, cold = Samples(), Numbers(), Numbers()
    names = _names("cold", plan.rounds)
    with ExitStack() as stack:
        lambent: Endpoint = stack.enter_context(open_lambent())
        ministack = stack.enter_context(open_ministack(commands))
        moto = stack.enter_context(open_moto(commands))
        subjects = {"Lambent": (lambent, 50), "ministack": (ministack, 1), "moto": (moto, 5)}
        for subject, _ in subjects.values():
            subject.register(["f", *names])
            subject.wait_for("f")
            subject.drive(clients=CLIENTS, count=5)
        for name in names:
            for title, (subject, factor) in subjects.items():
                cold.add(title, subject.invoke_each([name]).latencies_s[0] * 1000)
                samples.add(title, subject.drive(clients=1, count=plan.peer_calls * factor).latencies_s)
                rates.add(title, subject.drive(clients=CLIENTS, count=plan.peer_calls * factor).rate)
    warm: Callable[[str], list[float]] = lambda title: samples.percentile(title, 50)  # noqa: E731
    return [
        at_most(11, "warm p50 beside ministack's", warm("Lambent"), warm("ministack"), 1 / 50, "ms"),
        at_least(11, "rate of 8 clients beside ministack's", rates["Lambent"], rates["ministack"], 20, "/s"),
        at_most(11, "cold p50 beside ministack's", cold["Lambent"], cold["ministack"], 1 / 30, "ms"),
        at_most(11, "warm p50 beside moto's, which runs nothing", warm("Lambent"), warm("moto"), 1, "ms"),
        at_least(11, "rate of 8 clients beside moto's", rates["Lambent"], rates["moto"], 1, "/s"),
    ]


class Numbers(dict[str, list[float]]):
    """Per subject, one number a round."""

    def add(self, name: str, value: float) -> None:
        """Take one round of ``name``."""
        self.setdefault(name, []).append(value)

    def median(self, name: str) -> float:
        """Return the middle one."""
        return statistics.median(self[name])


def _names(start: str, count: int) -> list[str]:
    return [f"{start}-{number}" for number in range(count)]

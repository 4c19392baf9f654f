"""Between invocations a function stands still, uses no CPU, and goes on where it was."""

import os
import time

import pytest

from lambent.testing.process import LambentProcess

from . import aws
from .leftovers import Leftovers

COUNTS = """
import threading, time
count = 0
def work():
    global count
    while True:
        count += 1
threading.Thread(target=work, daemon=True).start()
def handler(event, context):
    before, since = count, time.process_time()
    while event and count == before:
        time.sleep(0.001)
    return {"count": before, "cpu_s": since}
"""
STANDS_S = 2.0
# What it has before it is frozen and after it was thawed: two graces, and a host that others use as well.
SLACK_S = 0.5


@pytest.fixture(autouse=True)
def needs_a_freezer(server):
    if any("setting_not_enforced" in line and "freeze" in line for line in log_lines(server)):
        pytest.skip("this host lets this user freeze nothing, and the server said so at its start")


def log_lines(server):
    return (server.run_dir / "lambent.log").read_text().splitlines()


def cpu_ticks(pids):
    """User and system time of processes, in hundredths of a second."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as file:
            total += sum(int(field) for field in file.read().rpartition(")")[2].split()[11:13])
    return total


def sandboxed(server):
    """The pids of everything in sandboxes of ``server``."""
    own = os.readlink("/proc/self/ns/pid")
    found = []
    for pid, _ in server.processes():
        try:
            if os.readlink(f"/proc/{pid}/ns/pid") != own:
                found.append(pid)
        except OSError:
            continue
    return found


def test_a_counting_thread_stands_still_for_two_seconds_and_goes_on(functions, deploy):
    name = deploy(COUNTS, MemorySize=1769)
    before = aws.invoke(functions, name, False).payload
    time.sleep(STANDS_S)  # time must pass for it to count on, had it not been stopped
    after = aws.invoke(functions, name, True)  # answered only once it counts again
    assert (after.error, after.payload["count"] > before["count"]) == (None, True)
    assert after.payload["cpu_s"] - before["cpu_s"] < SLACK_S


@pytest.fixture
def alone(state_dir):
    """A server without prepared sandboxes, whose processes there are no others than those of its functions."""
    with LambentProcess(state_dir, settings={"max_cells": 0}) as server:
        yield server


def test_an_idle_function_uses_no_cpu(alone):
    functions = aws.client("lambda", alone.endpoint)
    aws.invoke(functions, aws.create(functions, COUNTS, MemorySize=1769), False)
    pids = sandboxed(alone)
    assert pids
    ticks = -1
    give_up_at = time.monotonic() + 5
    while ticks != (ticks := cpu_ticks(pids)):
        assert time.monotonic() < give_up_at, "it never stands still"
        time.sleep(0.1)
    time.sleep(STANDS_S)  # time must pass for it to use CPU, had it not been stopped
    assert cpu_ticks(pids) == ticks


def test_a_frozen_function_is_ended_with_all_its_processes(alone):
    functions = aws.client("lambda", alone.endpoint)
    name = aws.create(functions, COUNTS)
    aws.invoke(functions, name, False)
    assert sandboxed(alone)
    time.sleep(0.1)  # frozen by now, or as good: either way it has to end
    functions.delete_function(FunctionName=name)
    give_up_at = time.monotonic() + 10
    while sandboxed(alone):
        assert time.monotonic() < give_up_at, "it outlives its function"
        time.sleep(0.02)


def test_a_server_whose_functions_are_frozen_stops_and_leaves_nothing(state_dir):
    with LambentProcess(state_dir) as server:
        functions = aws.client("lambda", server.endpoint)
        name = aws.create(functions, COUNTS)
        aws.invoke(functions, name, False)
        time.sleep(0.1)
        leftovers = Leftovers(server)
        leftovers.look(server)
    assert leftovers.all() == {}

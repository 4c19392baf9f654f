"""A function that works on after its answer gets no CPU for it: nothing to mine with, and nothing to disturb others."""

import os
import time

import pytest

from .live import ATTACKER, UNFROZEN, UNLIMITED, create

# Each leaves something that works on, and answers with the CPU time that it had so far.
THREAD = """
import builtins
if not hasattr(builtins, "is_started"):
    builtins.is_started = True
    threading.Thread(target=lambda: [None for _ in iter(int, 1) if False], daemon=True).start()
result = time.process_time()
"""
DAEMON = """
import builtins
if not hasattr(builtins, "daemon"):
    builtins.daemon = os.fork()
    if not builtins.daemon:
        os.setsid()
        for number in range(1, 32):
            attempt(lambda: signal.signal(number, signal.SIG_IGN))
        while True:
            pass
result = sum(map(int, read("/proc/%d/stat" % builtins.daemon).rpartition(")")[2].split()[11:13])) / 100
"""
BETWEEN_S = 2.0
MOST_S, LEAST_WITHOUT_S = 0.25, 0.4  # of two seconds: what graces allow; what any host gives who is not stopped

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's server may have no freezer")


def worked_s(live, code):
    name = create(live.functions, ATTACKER, Timeout=20, MemorySize=1769)
    before = live.attack(code, name).payload
    time.sleep(BETWEEN_S)  # time must pass for it to work in
    after = live.attack(code, name).payload
    live.functions.delete_function(FunctionName=name)  # without freezing it would work on beside other tests
    return after - before


@pytest.mark.parametrize("code", [pytest.param(THREAD, id="by-a-thread"), pytest.param(DAEMON, id="by-a-daemon")])
def test_work_after_the_answer_gets_no_cpu(code, live):
    assert worked_s(live, code) < MOST_S


def test_work_after_the_answer_gets_cpu_without_freezing(servers):
    assert worked_s(servers("root", *UNLIMITED, **UNFROZEN), THREAD) > LEAST_WITHOUT_S

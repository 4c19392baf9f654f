"""Each limit acts on a deployed function; with it lifted the same function finds more: so each test can fail."""

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from .live import ATTACKER, UNFROZEN, UNLIMITED, create

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="without root this host may not enforce limits")

EATS = "held = bytearray(b'x') * (400 << 20)\nresult = 'more'"
WRITES = """
result, written = 'more', 0
with open('/tmp/flood', 'wb', buffering=0) as file:
    try:
        while written < 600:
            written += file.write(bytes(1 << 20)) >> 20
    except OSError as error:
        result = errno.errorcode[error.errno]
"""
THREADS = """
stop, made, result = threading.Event(), [], 'more'
threading.stack_size(65536)
try:
    while len(made) < 1100:
        made.append(threading.Thread(target=stop.wait, daemon=True))
        made[-1].start()
except RuntimeError as error:
    result = 'EAGAIN'
stop.set()
"""
OPENS = """
held, result = [], 'more'
try:
    while len(held) < 1100:
        held.append(os.dup(0))
except OSError as error:
    result = errno.errorcode[error.errno]
for each in held:
    os.close(each)
"""
# A second of work, and what share of it was had: 128 MB are 0.07 vCPU.
WORKS = """
began, had = time.monotonic(), time.process_time()
while time.monotonic() - began < 1:
    pass
result = 'more' if time.process_time() - had > 0.13 else 'little'
"""
LIMITS = {
    "memory_mib": (EATS, 128, "Runtime.OutOfMemory"),
    "tmp_mib": (WRITES, 128, "ENOSPC"),
    "processes": (THREADS, 512, "EAGAIN"),
    "open_files": (OPENS, 128, "EMFILE"),
    "cpu_share": (WORKS, 128, "little"),
}
CASES = [pytest.param(name, *case, id=name) for name, case in LIMITS.items()]


def found(live, code, memory_mib):
    name = create(live.functions, ATTACKER, Timeout=20, MemorySize=memory_mib)
    answer = live.attack(code, name)
    return answer.payload if answer.error is None else answer.payload["errorType"]


@pytest.mark.parametrize(("name", "code", "memory_mib", "met"), CASES)
def test_a_function_meets_the_limit(name, code, memory_mib, met, live):
    assert found(live, code, memory_mib) == met


@pytest.mark.parametrize(("name", "code", "memory_mib", "met"), CASES)
def test_a_function_finds_more_where_the_limit_is_lifted(name, code, memory_mib, met, servers):
    assert found(servers("root", *UNLIMITED, **UNFROZEN), code, memory_mib) == "more"


def test_a_small_function_fills_its_disk_without_using_memory(live):
    code = """
with open('/tmp/file', 'wb', buffering=0) as file:
    for _ in range(500):
        file.write(bytes(1 << 20))
    result = [os.stat('/tmp/file').st_size >> 20]
    try:
        for _ in range(50):
            file.write(bytes(1 << 20))
    except OSError as error:
        result += [errno.errorcode[error.errno], os.stat('/tmp/file').st_size >> 20]
"""
    name = create(live.functions, ATTACKER, Timeout=20, MemorySize=128)
    answer = live.attack(code, name)
    written, error, most = answer.payload
    assert (answer.error, written, error) == (None, 500, "ENOSPC")
    assert most == pytest.approx(512, abs=12)  # what is left of 512 MiB, give or take the file system's own
    assert int(re.search(r"Max Memory Used: (\d+) MB", answer.tail)[1]) < 60


def test_init_has_two_cpus_and_the_first_invoke_has_the_share_of_its_memory(live):
    source = """
import time
def share(limit_s):
    began, had = time.monotonic(), time.process_time()
    while time.monotonic() - began < limit_s:
        pass
    return (time.process_time() - had) / (time.monotonic() - began)
in_init = share(0.5)
def handler(event, context):
    return [in_init, share(1)]
"""
    name = create(live.functions, source, Timeout=20, MemorySize=128)
    answer = live.functions.invoke(FunctionName=name)
    in_init, in_invoke = json.loads(answer["Payload"].read())
    assert in_invoke < 0.13
    assert in_init > 2 * in_invoke


def test_all_functions_together_stay_below_the_budget_of_the_host(servers):
    small = servers("root", memory_budget_mib=768, max_cells=0)
    # Alone in the books, it may be started; what it then takes is more than all may have, though less than its size.
    name = create(small.functions, ATTACKER, Timeout=20, MemorySize=2048)
    assert small.attack("result = 1", name).payload == 1
    answer = small.attack("held = bytearray(b'x') * (1000 << 20)\nresult = 'survived'", name)
    assert answer.payload["errorType"] == "Runtime.OutOfMemory"
    # Seen to need all of it, no second one is begun while it runs.
    assert small.attack("held = bytearray(b'x') * (600 << 20)\nresult = len(held) >> 20", name).payload == 600
    refused = []

    def ask():
        try:
            small.functions.invoke(FunctionName=name, Payload=b'{"code": "time.sleep(2); result = 2"}')
        except small.functions.exceptions.TooManyRequestsException as error:
            refused.append(error.response["Reason"])

    with ThreadPoolExecutor(2) as callers:
        list(callers.map(lambda _: ask(), range(2)))
    assert refused == ["ConcurrentInvocationLimitExceeded"]

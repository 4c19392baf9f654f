"""Functions that take all they can get. They meet their own limit; the machine and the others notice nothing."""

import os

import pytest

from .conftest import KINDS, SERVER_DEFENCES_OFF
from .live import ATTACKER, create
from .test_runtime_api import server_memory_mib

pytestmark = pytest.mark.root


@pytest.fixture
def own(live):
    """A function of the attacker's with little of everything."""
    if os.geteuid() != 0:
        pytest.skip("without root this host may not enforce limits: a flood would meet the machine")
    return create(live.functions, ATTACKER, Timeout=15, MemorySize=128)


FORKS = """
made = []
try:
    while len(made) < 3000:
        pid = os.fork()
        if not pid:
            time.sleep(600)
            os._exit(0)
        made.append(pid)
    result = 'endless'
except OSError as error:
    result = errno.errorcode[error.errno]
for pid in made:
    os.kill(pid, 9)
"""
THREADS = """
stop, made = threading.Event(), []
try:
    while len(made) < 3000:
        made.append(threading.Thread(target=stop.wait, daemon=True))
        made[-1].start()
    result = 'endless'
except RuntimeError as error:
    result = 'EAGAIN'
stop.set()
"""
DISK = """
result, written = 'endless', 0
with open('/tmp/flood', 'wb', buffering=0) as file:
    try:
        while written < 2000:
            written += file.write(bytes(1 << 20)) >> 20
    except OSError as error:
        result = errno.errorcode[error.errno]
os.unlink('/tmp/flood')
"""
INODES = """
result, at = 'endless', 0
os.mkdir('/tmp/flood')
try:
    while at < 1_000_000:
        os.mknod('/tmp/flood/%d' % at)
        at += 1
except OSError as error:
    result = errno.errorcode[error.errno]
"""
DESCRIPTORS = """
held = []
try:
    while len(held) < 100_000:
        held.append(os.dup(0))
    result = 'endless'
except OSError as error:
    result = errno.errorcode[error.errno]
for each in held:
    os.close(each)
"""


@pytest.mark.parametrize(
    ("code", "met"),
    [(FORKS, "EAGAIN"), (THREADS, "EAGAIN"), (DISK, "ENOSPC"), (INODES, "ENOSPC"), (DESCRIPTORS, "EMFILE")],
    ids=["a_fork_bomb", "a_flood_of_threads", "a_flood_of_the_disk", "a_flood_of_files", "a_flood_of_descriptors"],
)
def test_meets_a_limit_of_its_own(code, met, live, own):
    # Enough that processes run out before the memory that they take does.
    live.functions.update_function_configuration(FunctionName=own, MemorySize=2048)
    live.functions.get_waiter("function_updated_v2").wait(FunctionName=own, WaiterConfig={"Delay": 0.1})
    free = os.statvfs(live.server.state_dir).f_bavail
    answer = live.attack(code, own)
    assert (answer.error, answer.payload) == (None, met)
    assert os.statvfs(live.server.state_dir).f_bavail > free - (4 << 30) // 4096
    assert live.attack("result = 'again'", own).payload == "again"


def test_descriptors_have_a_limit_without_root_too(each_live):
    assert each_live.attack(DESCRIPTORS).payload == "EMFILE"


def test_a_memory_bomb_ends_as_out_of_memory(live, own):
    answer = live.attack("held = bytearray(b'x') * (400 << 20)\nresult = 'survived'", own)
    assert answer.payload["errorType"] == "Runtime.OutOfMemory"
    assert live.attack("result = 'again'", own).payload == "again"


def test_memory_of_children_counts_too(live, own):
    code = "if not os.fork():\n    held = bytearray(b'x') * (400 << 20)\n    os._exit(0)\nresult = os.wait()[1]"
    answer = live.attack(code, own)
    assert answer.error or answer.payload != 0


def test_a_flood_of_output_costs_the_server_neither_memory_nor_the_others_their_answers(live, own):
    before = server_memory_mib(live)
    code = "for _ in range(64):\n    os.write(1, b'x' * (1 << 20))\nresult = 'written'"
    answer = live.attack(code, own)
    assert answer.payload == "written" or answer.error
    assert len(answer.tail) <= 4096
    assert server_memory_mib(live) - before < 128


LOGS_MUCH = "os.write(1, b'of a flood\\n' * 1000)\nresult = 'written'"


def test_an_answer_tells_the_end_of_a_log_only(each_live):
    assert len(each_live.attack(LOGS_MUCH).tail) <= 4096


def test_without_its_bound_an_answer_tells_a_whole_log(servers):
    assert len(servers(KINDS[0], *SERVER_DEFENCES_OFF).attack(LOGS_MUCH).tail) > 10_000


def test_a_flood_of_lines_does_not_hold_the_loop(live, own):
    live.attack("for _ in range(16):\n    os.write(1, b'\\n' * (1 << 18))\nresult = 1", own)
    live.assert_neighbour_is_fine()


def test_broken_frames_of_the_log_pipe_are_text_at_most(live, own):
    code = "os.write(62, b'\\xa5\\x5a\\x00\\x03\\xff\\xff\\xff\\xff' + b'\\xff' * 5000)\nresult = 1"
    answer = live.attack(code, own)
    assert answer.error is None or "exited" in str(answer.payload)
    live.attack("result = 1", own)


@pytest.mark.parametrize("descriptor", [0, 1, 2, 62])
def test_a_function_that_closes_a_descriptor_harms_itself_at_most(descriptor, live, own):
    assert live.attack(f"attempt(lambda: os.close({descriptor}))\nresult = 'answered'", own).payload == "answered"


def test_a_flood_on_standard_output_by_a_daemon_between_invocations_reaches_no_other_log(live, own):
    code = """
if not os.fork():
    os.setsid()
    for _ in range(2000):
        os.write(1, b'of the daemon\\n')
        time.sleep(0.001)
    os._exit(0)
result = 'left'
"""
    assert live.attack(code, own).payload == "left"
    answer = live.attack("result = 1")
    assert "of the daemon" not in answer.tail

"""Functions that lie to the Runtime API. What they gain is their own invocation's failure, never another's answer."""

import pytest

from .conftest import KINDS, SERVER_DEFENCES_OFF
from .live import ATTACKER, create

PATH = "path = '/2018-06-01/runtime/invocation/%s/' % context.aws_request_id\n"

# (name, code, what it finds): the status of each refused call.
REFUSED_CALLS = [
    ("answers_for_another_request", "result = post('/2018-06-01/runtime/invocation/%032x/response' % 1)", 400),
    ("answers_with_an_error_for_another_request", "result = post('/2018-06-01/runtime/invocation/x/error')", 400),
    ("answers_for_another_attempt", PATH + "result = post(path + 'response', headers='Lambda-Runtime-Invocation-Id: "
     "another\\r\\n')", 400),
    ("reports_an_error_of_its_initialisation_when_that_is_over", "result = post('/2018-06-01/runtime/init/error')",
     403),
    ("asks_the_runtime_api_for_the_gateway", "result = int(api('GET /2015-03-31/functions HTTP/1.1\\nHost: localhost"
     "\\nConnection: close\\n\\n').split()[1])", 404),
    ("asks_the_runtime_api_to_be_a_proxy", "result = int(api('GET http://169.254.169.254/latest/ HTTP/1.1\\nHost: x"
     "\\nConnection: close\\n\\n').split()[1]) in (400, 404)", True),
    ("climbs_in_the_runtime_api", "result = int(api('GET /2018-06-01/../../_lambent/health HTTP/1.1\\nHost: x"
     "\\nConnection: close\\n\\n').split()[1]) in (400, 404)", True),
    ("sends_a_megabyte_of_headers", "result = api(b'GET /2018-06-01/ping HTTP/1.1\\r\\nHost: x\\r\\n' + "
     "b'a: ' + b'x' * 2_000_000 + b'\\r\\n\\r\\n').split()[1:2]", ["431"]),
    ("sends_a_thousand_headers", "result = api(b'GET /2018-06-01/ping HTTP/1.1\\r\\nHost: x\\r\\n' + "
     "b'a: b\\r\\n' * 1000 + b'\\r\\n').split()[1:2]", ["431"]),
    ("sends_garbage", "result = api(b'\\0\\xff\\r\\n\\r\\n' * 100).split()[1:2]", ["400"]),
    ("sends_two_lengths", "result = api('POST /2018-06-01/ping HTTP/1.1\\nHost: x\\nContent-Length: 1\\n"
     "Content-Length: 2\\n\\nab').split()[1:2]", ["400"]),
]  # fmt: skip


@pytest.fixture(scope="session", params=[*KINDS, "process"])
def each_driver(request, servers):
    """A live server as root, as an ordinary user, and one whose driver isolates nothing: this part is not its work."""
    return servers(KINDS[0], driver="process") if request.param == "process" else servers(request.param)


@pytest.mark.parametrize(("code", "found"), [each[1:] for each in REFUSED_CALLS], ids=[e[0] for e in REFUSED_CALLS])
def test_is_refused_a_function_that(code, found, each_driver):
    answer = each_driver.attack(code)
    assert (answer.error, answer.payload) == (None, found)
    each_driver.assert_neighbour_is_fine()


def test_without_the_table_of_states_a_call_at_the_wrong_time_is_accepted(servers):
    (code,) = [code for name, code, _ in REFUSED_CALLS if name.startswith("reports_an_error_of_its_init")]
    assert servers(KINDS[0], *SERVER_DEFENCES_OFF).attack(code).payload == 202


@pytest.fixture
def own(each_live):
    """A function of the attacker's for attacks that cost it its environment."""
    return create(each_live.functions, ATTACKER, Timeout=3, MemorySize=256)


def test_of_two_answers_the_first_counts_and_the_next_caller_gets_its_own(each_live, own):
    answer = each_live.attack(
        PATH + "result = [post(path + 'response', b'\"first\"'), post(path + 'response', b'2')]", own
    )
    assert answer.payload == "first"
    assert each_live.attack("result = 'own'", own).payload == "own"


def test_an_answer_after_the_timeout_reaches_nobody(each_live, own):
    late = """
if not os.fork():
    os.setsid()
    if not os.fork():
        time.sleep(3.5)  # the timeout is over, the next invocation runs
        while True:
            try:
                post(path + 'response', b'"late"')
            except Exception:
                pass
            time.sleep(0.05)
    os._exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(600)
"""
    answer = each_live.attack(PATH + late, own)
    assert answer.error
    assert "timed out" in str(answer.payload)
    for number in range(3):
        assert each_live.attack(f"time.sleep(0.6); result = {number}", own).payload == number


def test_a_function_that_never_answers_ends_at_its_timeout_with_all_its_processes(each_live, own):
    code = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nos.fork() or os.setsid()\nwhile True: time.sleep(9)"
    assert "timed out" in str(each_live.attack(code, own).payload)
    found = each_live.attack("result = [name for name in os.listdir('/proc') if name.isdigit()]", own).payload
    assert len(found) <= 3


def test_a_daemon_does_not_outlive_a_reset(each_live, own):
    daemon = "if not os.fork():\n    os.setsid()\n    if not os.fork():\n        time.sleep(600)\n    os._exit(0)\n"
    answer = each_live.attack(daemon + "time.sleep(0.2); os._exit(7)", own)
    assert "exit" in str(answer.payload)
    found = each_live.attack("result = len([name for name in os.listdir('/proc') if name.isdigit()])", own).payload
    assert found <= 3


def test_an_answer_without_an_end_is_cut_and_costs_the_server_no_memory(each_live, own):
    code = (
        PATH
        + """
host, port = os.environ['AWS_LAMBDA_RUNTIME_API'].split(':')
sent = 0
with socket.create_connection((host, int(port)), 10) as peer:
    peer.sendall(('POST %sresponse HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 1000000000\\r\\n\\r\\n' % path).encode())
    try:
        while sent < 1_000_000_000:
            sent += peer.send(bytes(1 << 20))
    except OSError:
        pass
time.sleep(0.2)
result = None
"""
    )
    before = server_memory_mib(each_live)
    answer = each_live.attack(code, own)
    assert answer.error
    assert "exceeded" in str(answer.payload)
    assert server_memory_mib(each_live) - before < 64


def test_a_flood_of_connections_to_the_runtime_api_is_the_function_s_own_trouble(each_live, own):
    code = """
host, port = os.environ['AWS_LAMBDA_RUNTIME_API'].split(':')
peers, result = [], 0
try:
    for _ in range(1000):
        peers.append(socket.create_connection((host, int(port)), 1))
        peers[-1].sendall(b'POST /2018-06-01/runtime/init/error HTTP/1.1\\r\\nHost: x\\r\\n')
        result += 1
except OSError:
    pass
"""
    each_live.attack(code, own)
    each_live.assert_neighbour_is_fine()


def server_memory_mib(live) -> int:
    """Return the resident memory of the server's own process."""
    pid = next(pid for pid, line in live.server.processes() if "lambent.assembly.server" in line and "-m" in line)
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) >> 10

"""Functions that fail, stall, die, answer too much; callers that hang up; many at once."""

import http.client
import json
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from . import aws

STALLS = """
import os, time
def handler(event, context):
    if event == "write":
        open("/tmp/kept", "w").write("still here")
        return os.getpid()
    if event == "read":
        return open("/tmp/kept").read()
    time.sleep(30)
"""


def until(condition, limit_s=15.0):
    """Return the first true value of ``condition``."""
    give_up_at = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < give_up_at, "it did not happen"
        time.sleep(0.02)
    return found


def test_a_timeout_ends_the_invocation_and_keeps_tmp(functions, deploy):
    name = deploy(STALLS, Timeout=1)
    assert aws.invoke(functions, name, "write").error is None
    stalled = aws.invoke(functions, name, "stall")
    assert stalled.error == "Unhandled"
    assert stalled.payload == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {stalled.request_id} Error: Task timed out after 1.00 seconds",
    }
    assert "Status: timeout" in stalled.tail
    assert aws.invoke(functions, name, "read").payload == "still here"


EXITS = "import os\ndef handler(event, context):\n    os._exit(3)\n"
CRASHES = "import os, signal\ndef handler(event, context):\n    os.kill(os.getpid(), signal.SIGSEGV)\n"
UNABLE = "def handler(event, context):\n    return {1, 2}\n"


@pytest.mark.parametrize(
    ("source", "error_type", "words"),
    [
        pytest.param(EXITS, "Runtime.ExitError", "exit status 3", id="exit"),
        pytest.param(CRASHES, "Runtime.ExitError", "signal: segmentation fault", id="crash"),
        pytest.param("import nowhere\n", "Runtime.ImportModuleError", "No module named 'nowhere'", id="import"),
        pytest.param("x = 1\n", "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'app'", id="absent"),
        pytest.param(UNABLE, "Runtime.MarshalError", "not JSON serializable", id="no-json"),
    ],
)
def test_a_fault_has_the_type_and_words_of_aws(source, error_type, words, functions, deploy):
    name = deploy(source)
    for _ in range(2):
        answer = aws.invoke(functions, name)
        assert (answer.error, answer.payload["errorType"]) == ("Unhandled", error_type)
        assert words in answer.payload["errorMessage"]


def test_too_much_memory_is_told_as_such_and_the_next_call_works(server, functions, deploy):
    told = [line for line in (server.run_dir / "lambent.log").read_text().splitlines() if "not_enforced" in line]
    if any("memory_mib" in line for line in told):
        pytest.skip("this host lets this user limit no memory, and the server said so at its start")
    source = "def handler(event, context):\n    return len(bytearray(event))\n"
    name = deploy(source, MemorySize=128, Timeout=20)
    assert aws.invoke(functions, name, 1000).payload == 1000
    killed = aws.invoke(functions, name, 400 * 1024 * 1024)
    assert killed.error == "Unhandled"
    assert killed.payload["errorType"] == "Runtime.OutOfMemory"
    assert killed.report["used"] == "128"
    assert aws.invoke(functions, name, 1000).payload == 1000


def test_a_response_over_the_limit_is_refused_with_both_sizes(functions, deploy):
    name = deploy("def handler(event, context):\n    return 'a' * event\n", MemorySize=512, Timeout=10)
    refused = aws.invoke(functions, name, 6 * 1024 * 1024 + 200)
    assert (refused.error, refused.payload["errorType"]) == ("Unhandled", "Function.ResponseSizeTooLarge")
    assert "exceeded maximum allowed payload size (6291556 bytes)" in refused.payload["errorMessage"]
    assert len(aws.invoke(functions, name, 6 * 1024 * 1024).payload) == 6 * 1024 * 1024


def test_a_hundred_at_once_get_each_its_own_answer(server, deploy):
    name = deploy("import time\ndef handler(event, context):\n    time.sleep(0.2)\n    return event\n", Timeout=60)
    client = aws.client("lambda", server.endpoint, max_pool_connections=100)
    with ThreadPoolExecutor(100) as threads:
        answers = list(threads.map(lambda n: aws.invoke(client, name, n), range(100)))
    assert [answer.payload for answer in answers] == list(range(100))
    assert len({answer.request_id for answer in answers}) == 100


def test_a_function_goes_on_when_its_caller_hangs_up(server, functions, deploy, logs):
    name = deploy(
        "import time\ndef handler(event, context):\n    print('begun')\n    time.sleep(1.5)\n    print('finished')\n",
        Timeout=10,
    )
    group = f"/aws/lambda/{name}"

    def said(word):
        try:
            return logs.filter_log_events(logGroupName=group, filterPattern=word)["events"]
        except logs.exceptions.ResourceNotFoundException:
            return []

    url = f"{server.endpoint}/2015-03-31/functions/{name}/invocations"
    request = AWSRequest("POST", url, data=b"{}")
    SigV4Auth(Credentials("test", "test"), "lambda", aws.REGION).add_auth(request)
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc)
    connection.request("POST", urllib.parse.urlsplit(url).path, b"{}", dict(request.headers.items()))
    until(lambda: said("begun"))
    connection.close()
    until(lambda: said("finished"))
    report = until(lambda: said("REPORT"))
    assert "Status" not in report[0]["message"]
    assert aws.invoke(functions, name).error is None


def test_reports_of_json_format_carry_the_same_numbers(functions, deploy):
    name = deploy("def handler(event, context):\n    return 1\n", LoggingConfig={"LogFormat": "JSON"})
    lines = [json.loads(line) for line in aws.invoke(functions, name).tail.splitlines()]
    report = next(line["record"] for line in lines if line["type"] == "platform.report")
    assert report["status"] == "success"
    assert report["metrics"]["memorySizeMB"] == 128
    assert report["metrics"]["initDurationMs"] > 0

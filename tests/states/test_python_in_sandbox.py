"""AWS's own Python client in real sandboxes: results, errors, logs, as recorded from AWS."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from lambent.environment.api_server import ApiServers
from lambent.environment.assignment import Assigner
from lambent.environment.deadlines import Deadlines
from lambent.environment.environment import EnvironmentTools
from lambent.environment.environments import Environments
from lambent.environment.freezing import Freezing
from lambent.environment.placement import PoolLimits
from lambent.invoke.access import FunctionPolicies
from lambent.invoke.concurrency import Concurrency
from lambent.invoke.invoker import Invoker
from lambent.model.functions import FunctionVersion, LogSettings
from lambent.model.ids import Digest, RequestId, Scope, TreeName
from lambent.model.invocations import InvokeCall, Status, Target
from lambent.runtimes.catalogue import RuntimeCatalogue
from lambent.runtimes.provider import RuntimeProvider, RuntimeUnavailable
from lambent.sandbox.bubblewrap import BubblewrapDriver
from lambent.testing.recording_driver import FixedCredentials, RecordingLog
from lambent.testing.sandboxes import open_roots, open_test_launcher

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed: apt install bubblewrap"),
]

CACHE = Path(os.environ.get("LAMBENT_TEST_CACHE") or Path(__file__).parents[2] / ".cache") / "runtimes"
RUNTIME = f"python3.{sys.version_info.minor}"
SCOPE = Scope("111111111111", "us-east-1")

APP = """
import logging, os, sys, time
count = 0

def handler(event, context):
    global count
    count += 1
    do = event.get("do")
    if do == "raise":
        raise ValueError("no luck")
    if do == "exit":
        sys.exit(0)
    if do == "print":
        print("multi\\nline\\nstring\\nanother\\rline")
        logging.getLogger().warning("framed\\nmessage")
    if do == "context":
        return {
            "aws_request_id": context.aws_request_id, "function_name": context.function_name,
            "arn": context.invoked_function_arn, "memory": context.memory_limit_in_mb,
            "remaining_ms": context.get_remaining_time_in_millis(), "log_group": context.log_group_name,
            "log_stream": context.log_stream_name, "client": context.client_context and context.client_context.custom,
            "trace": os.environ.get("_X_AMZN_TRACE_ID"), "telemetry_fd": os.environ.get("_LAMBDA_TELEMETRY_LOG_FD"),
        }
    if do == "large":
        return "a" * (7 << 20)
    return {"count": count, "event": event}
"""


class RealClock:
    def now(self):
        return datetime.now(UTC)

    def mono_s(self):
        return asyncio.get_running_loop().time()

    async def sleep_s(self, seconds):
        await asyncio.sleep(seconds)


class Code:
    async def ensure_tree(self, digest):
        return TreeName(digest)

    async def ensure_bytecode(self, digest, python):
        return None

    def in_use(self, digest):
        return contextlib.nullcontext()


@pytest.fixture(scope="module")
def runtimes():
    provider = RuntimeProvider(
        RuntimeCatalogue.load(),
        runtime_root=CACHE / "runtimes",
        interpreter_root=CACHE / "interpreters",
        cache_dir=CACHE / "cache",
        configured={},
        host_environ=os.environ,
    )
    try:
        asyncio.run(provider.prepare(RUNTIME))
    except RuntimeUnavailable as error:
        pytest.skip(str(error))
    return provider


class Host:
    def __init__(self, invoker, pool, functions, logs):
        self.invoker, self.pool, self.functions, self.logs = invoker, pool, functions, logs

    async def invoke(self, event, code="good", **changes):
        self.functions.version = make_version(code=Digest(code), **changes.pop("version", {}))
        request_id = RequestId("8476a536-e9f4-11e8-9739-2dfe598c3fcd")
        call = InvokeCall(
            request_id=request_id, target=Target(SCOPE, "fn"), payload=json.dumps(event).encode(), **changes
        )
        async with asyncio.timeout(40):
            result = await self.invoker.invoke(call)
            while self.pool.idle_count < self.pool.count:  # noqa: ASYNC110 - until the environment is free
                await asyncio.sleep(0.005)
        return result


def make_version(**changes):
    values = {
        "scope": SCOPE, "name": "fn", "version": "$LATEST", "generation": 1, "runtime": RUNTIME,
        "handler": "app.handler", "role": "arn:aws:iam::111111111111:role/r", "memory_mib": 512, "timeout_s": 10,
        "tmp_mib": 512, "code": Digest("good"), "code_bytes": 1, "log": LogSettings(group="/aws/lambda/fn"),
    }  # fmt: skip
    return FunctionVersion(**(values | changes))


@pytest.fixture
async def host(runtimes):
    with open_roots() as roots:
        roots.write("code/good/app.py", APP)
        roots.write("code/broken/app.py", "import nothing_of_that_name\n")
        places = SimpleNamespace(
            code=roots.code, runtime=CACHE / "runtimes", interpreter=CACHE / "interpreters", run=roots.run
        )
        async with open_test_launcher(places) as client:
            clock, logs, functions = RealClock(), [], SimpleNamespace(version=None)
            functions.resolve = lambda target: functions.version

            def open_log(version, environment_id, at):
                logs.append(RecordingLog())
                return logs[-1]

            deadlines = Deadlines(clock)
            tools = EnvironmentTools(
                driver=BubblewrapDriver(client),
                servers=ApiServers(clock),
                endpoint=FixedCredentials.no_endpoint,
                assigner=Assigner(runtimes, Code(), FixedCredentials(), roots.code),
                open_log=open_log,
                clock=clock,
                deadlines=deadlines,
                freezing=Freezing(clock),
                record=lambda record: None,
            )
            async with Environments(tools, PoolLimits()) as pool:
                invoker = Invoker(FunctionPolicies(lambda target: ()), functions, Concurrency(), pool, clock)
                yield Host(invoker, pool, functions, logs)


async def test_function_runs_cold_and_warm_and_errors_are_the_clients_own(host):
    assert json.loads((await host.invoke({"a": 1})).payload) == {"count": 1, "event": {"a": 1}}
    assert json.loads((await host.invoke({"a": 2})).payload)["count"] == 2
    raised = await host.invoke({"do": "raise"})
    error = json.loads(raised.payload)
    assert (raised.function_error, error["errorType"], error["errorMessage"]) == ("Unhandled", "ValueError", "no luck")
    assert error["stackTrace"][0].startswith('  File "/var/task/app.py", line ')
    assert json.loads((await host.invoke({})).payload)["count"] == 4
    assert len(host.logs) == 1
    record = host.logs[0].records[2]
    assert (record.status, record.is_function_error) == (Status.SUCCESS, True)


async def test_context_is_what_aws_shows(host):
    result = await host.invoke({"do": "context"}, client_context='{"custom": {"k": "v\u00e9"}}')
    seen = json.loads(result.payload)
    assert seen["aws_request_id"] == "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
    assert (seen["function_name"], seen["memory"]) == ("fn", "512")
    assert seen["arn"] == "arn:aws:lambda:us-east-1:111111111111:function:fn"
    assert 8000 < seen["remaining_ms"] <= 10_000
    assert seen["log_group"] == "/aws/lambda/fn"
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", seen["log_stream"])
    assert seen["trace"] == result.trace_header
    assert seen["telemetry_fd"] is None
    assert list(seen["client"]) == ["k"]


async def test_lines_and_framed_messages_become_the_events_recorded_from_aws(host):
    await host.invoke({"do": "print"})
    printed = host.logs[0].messages
    assert printed[:4] == [b"multi\n", b"line\n", b"string\n", b"another\rline\n"]
    assert re.fullmatch(
        rb"\[WARNING\]\t[0-9T:.-]+Z\t8476a536-e9f4-11e8-9739-2dfe598c3fcd\tframed\nmessage\n", printed[4]
    )


async def test_import_error_is_answered_by_the_second_try(host):
    result = await host.invoke({}, code="broken")
    error = json.loads(result.payload)
    assert error["errorType"] == "Runtime.ImportModuleError"
    assert error["errorMessage"] == "Unable to import module 'app': No module named 'nothing_of_that_name'"
    assert (result.function_error, error["requestId"]) == ("Unhandled", "")
    assert [(init.phase, init.error_type) for init in host.logs[0].inits] == [
        ("init", "Runtime.ImportModuleError"),
        ("invoke", "Runtime.ImportModuleError"),
    ]


async def test_exit_inside_the_handler_is_told_in_awss_words(host):
    result = await host.invoke({"do": "exit"})
    error = json.loads(result.payload)
    assert error["errorType"] == "Runtime.ExitError"
    assert error["errorMessage"] == (
        "RequestId: 8476a536-e9f4-11e8-9739-2dfe598c3fcd Error: Runtime exited without providing a reason"
    )


async def test_response_that_is_too_large_fails_as_on_aws_and_the_next_call_runs(host):
    for _ in range(2):
        result = await host.invoke({"do": "large"})
        assert json.loads(result.payload) == {
            "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
            "errorType": "Function.ResponseSizeTooLarge",
        }
    assert json.loads((await host.invoke({})).payload)["count"] == 1
    # The client's own words for the 413, which it does not survive.
    assert any(b"Failed to post handler success response. Http response code: 413." in m for m in host.logs[0].messages)


async def test_json_format_is_spoken_by_the_client_itself(host):
    log = LogSettings(group="/aws/lambda/fn", is_json=True, application_level="INFO")
    await host.invoke({"do": "print"}, version={"log": log})
    lines = [json.loads(message) for message in host.logs[0].messages if message.startswith(b"{")]
    assert [(line["level"], line["message"]) for line in lines] == [("WARNING", "framed\nmessage")] or [
        (line["level"], line["message"]) for line in lines
    ] == [("WARN", "framed\nmessage")]

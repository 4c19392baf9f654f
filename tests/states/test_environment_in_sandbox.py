"""Execution environments in real sandboxes: a bootstrap of our own speaks the Runtime API from inside bubblewrap."""

import asyncio
import contextlib
import json
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from lambent.environment.api_server import ApiServers
from lambent.environment.assignment import Assigner
from lambent.environment.deadlines import Deadlines
from lambent.environment.environment import EnvironmentTools
from lambent.environment.environments import Environments
from lambent.environment.freezing import Freezing
from lambent.environment.placement import PoolLimits
from lambent.model.functions import FunctionVersion, LogSettings
from lambent.model.ids import Digest, RequestId, SandboxId, Scope, TreeName
from lambent.model.invocations import InvokeCall, Status, Target
from lambent.sandbox.bubblewrap import BubblewrapDriver
from lambent.sandbox.driver import Limits, SandboxSpec
from lambent.testing.recording_driver import FixedCredentials, RecordingLog
from lambent.testing.sandboxes import find_or_make_test_user, open_roots, open_test_launcher

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed: apt install bubblewrap"),
]

USERS = ["root", "user"] if os.geteuid() == 0 else ["user"]
SCOPE = Scope("111111111111", "us-east-1")
SPEC = SandboxSpec(sandbox_id=SandboxId("probe"), limits=Limits(memory_mib=128, tmp_mib=512))

# A runtime client in a few lines of the standard library: it runs {"do": …} and answers with what it is asked for.
BOOTSTRAP = """#!/usr/bin/python3 -IS
import http.client, json, os, sys, time
count = 0
connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
if os.path.exists("/tmp/break_init"):
    sys.exit(5)
while True:
    connection.request("GET", "/2018-06-01/runtime/invocation/next")
    answer = connection.getresponse()
    event, request_id = json.loads(answer.read()), answer.headers["Lambda-Runtime-Aws-Request-Id"]
    count += 1
    print("running", event["do"], flush=True)
    if event["do"] == "exit":
        sys.exit(3)
    if event["do"] == "hang":
        open("/tmp/note", "w").write("kept")
        time.sleep(600)
    if event["do"] == "eat":
        hog = bytearray(os.urandom(1 << 20) * 400)
    if event["do"] == "kill":
        os.kill(os.getpid(), 9)
    note = open("/tmp/note").read() if os.path.exists("/tmp/note") else None
    facts = {"count": count, "note": note, "environ": dict(os.environ), "cwd": os.getcwd()}
    connection.request("POST", f"/2018-06-01/runtime/invocation/{request_id}/response", json.dumps(facts))
    connection.getresponse().read()
"""


class RealClock:
    def now(self):
        return datetime.now(UTC)

    def mono_s(self):
        return asyncio.get_running_loop().time()

    async def sleep_s(self, seconds):
        await asyncio.sleep(seconds)


class Custom:
    async def prepare(self, identifier, architecture):
        return SimpleNamespace(
            identifier=identifier, argv=(), runtime_tree=None, interpreter_tree=None, environ=(), python=None,
            version="provided:al2023.v1", version_arn=lambda region: f"arn:aws:lambda:{region}::runtime:0",
            bootstrap_candidates=("/var/task/bootstrap", "/opt/bootstrap"),
        )  # fmt: skip


class Code:
    async def ensure_tree(self, digest):
        return TreeName(digest)

    async def ensure_bytecode(self, digest, python):
        return None

    def in_use(self, digest):
        return contextlib.nullcontext()


@dataclass
class Host:
    pool: Environments
    logs: list
    driver: BubblewrapDriver

    async def invoke(self, do, version=None, **changes):
        request_id = RequestId(f"00000000-0000-4000-8000-{len(self.logs):012d}")
        call = InvokeCall(
            request_id=request_id, target=Target(SCOPE, "fn"), payload=json.dumps({"do": do}).encode(), **changes
        )
        async with asyncio.timeout(30), self.pool.take(version or make_version(), call) as environment:
            result = await environment.run(call)
        return result, environment


def make_version(**changes):
    values = {
        "scope": SCOPE, "name": "fn", "version": "$LATEST", "generation": 1, "runtime": "provided.al2023",
        "handler": "function.handler", "role": "arn:aws:iam::111111111111:role/r", "memory_mib": 256, "timeout_s": 3,
        "tmp_mib": 512, "code": Digest("good"), "code_bytes": 1, "log": LogSettings(group="/aws/lambda/fn"),
    }  # fmt: skip
    return FunctionVersion(**(values | changes))


@pytest.fixture(params=USERS)
async def host(request):
    user = find_or_make_test_user() if request.param == "user" and os.geteuid() == 0 else None
    with open_roots(user) as roots:
        roots.write("code/good/bootstrap", BOOTSTRAP)
        (roots.code / "good/bootstrap").chmod(0o755)
        roots.write("code/empty/readme", "no bootstrap")
        roots.write("code/plain/bootstrap", BOOTSTRAP)
        async with open_test_launcher(roots, user=user) as client:
            clock, logs = RealClock(), []

            def open_log(version, environment_id, at):
                logs.append(RecordingLog())
                return logs[-1]

            deadlines = Deadlines(clock)
            tools = EnvironmentTools(
                driver=BubblewrapDriver(client),
                servers=ApiServers(clock),
                endpoint=FixedCredentials.no_endpoint,
                assigner=Assigner(Custom(), Code(), FixedCredentials(), roots.code),
                open_log=open_log,
                clock=clock,
                deadlines=deadlines,
                freezing=Freezing(clock),
                record=lambda record: None,
            )
            async with Environments(tools, PoolLimits()) as pool:
                yield Host(pool, logs, tools.driver)


async def settled(environment):
    if not environment.is_settled:
        done = asyncio.Event()
        environment.when_settled(done.set)
        await asyncio.wait_for(done.wait(), 30)


async def test_cold_and_warm_invocation_share_one_environment(host):
    first, environment = await host.invoke("tell")
    await settled(environment)
    second, again = await host.invoke("tell")
    await settled(again)
    assert again is environment
    assert [json.loads(each.payload)["count"] for each in (first, second)] == [1, 2]
    assert json.loads(first.payload)["cwd"] == "/var/task"
    assert host.logs[0].messages == [b"running tell\n", b"running tell\n"]
    cold, warm = host.logs[0].records
    assert cold.init_duration_ms > 0
    assert warm.init_duration_ms is None


async def test_environment_of_a_custom_runtime_is_what_was_recorded_from_aws(host):
    result, _ = await host.invoke("tell", make_version(environment=(("TEST_KEY", "TEST_VAL"),)))
    environ = json.loads(result.payload)["environ"]
    for name in ("PWD", "LC_CTYPE"):  # of bubblewrap, and of the interpreter where the locale is not installed
        environ.pop(name, None)
    assert environ.pop("AWS_ENDPOINT_URL") == "http://169.254.100.1:4566"
    assert environ.pop("AWS_LAMBDA_LOG_STREAM_NAME").startswith(f"{datetime.now(UTC):%Y/%m/%d}/[$LATEST]")
    assert environ == {
        "AWS_ACCESS_KEY_ID": "ASIAKEY",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_FUNCTION_NAME": "fn",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/fn",
        "AWS_LAMBDA_RUNTIME_API": "169.254.100.1:9001",
        "AWS_REGION": "us-east-1",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "token",
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": "169.254.100.1:2000",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "LAMBDA_TASK_ROOT": "/var/task",
        "LANG": "en_US.UTF-8",
        "LD_LIBRARY_PATH": (
            "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib"
        ),
        "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
        "TEST_KEY": "TEST_VAL",
        "TZ": ":UTC",
        "_AWS_XRAY_DAEMON_ADDRESS": "169.254.100.1",
        "_AWS_XRAY_DAEMON_PORT": "2000",
        "_HANDLER": "function.handler",
    }


async def test_timeout_ends_the_process_and_tmp_survives_the_suppressed_init(host):
    version = make_version(timeout_s=1)
    result, environment = await host.invoke("hang", version)
    assert json.loads(result.payload)["errorType"] == "Sandbox.Timedout"
    await settled(environment)
    again, same = await host.invoke("tell", version)
    assert same is environment
    facts = json.loads(again.payload)
    assert (facts["count"], facts["note"]) == (1, "kept")
    assert host.logs[0].records[0].status is Status.TIMEOUT
    assert host.logs[0].records[0].duration_ms >= 1000


@pytest.mark.parametrize(
    ("do", "message"),
    [("exit", "Runtime exited with error: exit status 3"), ("kill", "Runtime exited with error: signal: killed")],
)
async def test_process_that_ends_is_told_in_awss_words(host, do, message):
    result, environment = await host.invoke(do)
    await settled(environment)
    error = json.loads(result.payload)
    assert error["errorType"] == "Runtime.ExitError"
    assert error["errorMessage"].endswith(f"Error: {message}")
    assert host.logs[0].messages == [f"running {do}\n".encode()]


async def test_out_of_memory_is_told_in_awss_words(host):
    version = make_version(memory_mib=128)
    if any(refusal.setting == "memory_mib" for refusal in host.driver.unsupported(SPEC)):
        pytest.skip("this host cannot limit memory for an ordinary user")
    result, environment = await host.invoke("eat", version)
    await settled(environment)
    error = json.loads(result.payload)
    assert error["errorType"] == "Runtime.OutOfMemory"
    assert error["errorMessage"].endswith("Error: Runtime exited with error: signal: killed")
    record = host.logs[0].records[0]
    assert (record.status, record.error_type) == (Status.ERROR, "Runtime.OutOfMemory")
    assert record.max_memory_mib == 128
    again, _ = await host.invoke("tell", version)
    assert json.loads(again.payload)["count"] == 1


async def test_missing_bootstrap_is_told_in_awss_words(host):
    result, environment = await host.invoke("tell", make_version(code=Digest("empty")))
    await settled(environment)
    error = json.loads(result.payload)
    assert error["errorType"] == "Runtime.InvalidEntrypoint"
    assert error["errorMessage"].endswith(
        "Error: Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"
    )
    assert host.logs[0].messages == []


async def test_bootstrap_that_is_not_executable_is_told_as_the_kernel_does(host):
    result, _ = await host.invoke("tell", make_version(code=Digest("plain")))
    error = json.loads(result.payload)
    assert error["errorType"] == "Runtime.InvalidEntrypoint"
    assert error["errorMessage"].endswith("Error: fork/exec /var/task/bootstrap: permission denied")


async def test_wanted_tail_holds_the_lines_of_the_function(host):
    result, _ = await host.invoke("tell", wants_log_tail=True)
    assert b"running tell\n" in result.log_tail
    assert result.log_tail.endswith(b"ended\n")


async def test_parallel_calls_get_environments_of_their_own(host):
    outcomes = await asyncio.gather(*(host.invoke("tell") for _ in range(4)))
    assert len({environment for _, environment in outcomes}) == 4
    for _, environment in outcomes:
        await settled(environment)
    assert host.pool.idle_count == 4

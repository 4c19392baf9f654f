"""The process environment: equal to what was recorded from AWS, and in AWS's order of precedence."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lambent.environment.variables import Credentials, EnvironmentFacts, process_environment
from lambent.model.functions import LogSettings
from lambent.model.ids import EnvironmentId

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/environment/variables.json").read_text())["environments"]
HEX = "0123456789abcdef" * 2

# What the runtimes' own start adds, per event or per runtime; not of the platform's making.
OF_THE_RUNTIME = {
    "_X_AMZN_TRACE_ID", "PYTHONPATH", "LC_CTYPE", "NODE_PATH", "NODE_EXTRA_CA_CERTS", "GEM_HOME", "GEM_PATH", "RUBYLIB",
    "DOTNET_ROOT", "LAMBDA_RUNTIME_NAME", "SSL_CERT_FILE",
}  # fmt: skip
# Python, Node.js and Ruby take it out of their environment before the function starts; java8.al2 is older than it.
NOT_SEEN_BY_THE_FUNCTION = {"_LAMBDA_TELEMETRY_LOG_FD"}


def facts(**changes):
    values = {
        "environment_id": EnvironmentId(HEX),
        "created_at": datetime(2026, 10, 8, 23, 59, tzinfo=UTC),
        "runtime_api": "169.254.100.1:9001",
        "endpoint": "169.254.100.1:4566",
        "credentials": Credentials("<aws-access-key-id:1>", "<aws-secret-access-key:1>", "<aws-session-token:1>"),
        "runtime_environ": {},
    }
    return EnvironmentFacts(**(values | changes))


def same(path):
    return path


@pytest.mark.parametrize("runtime", sorted(GOLDEN))
def test_variables_are_those_recorded_from_aws(kit, runtime):
    recorded = {name: value for name, value in GOLDEN[runtime].items() if name not in OF_THE_RUNTIME}
    version = replace(
        kit.VERSION,
        name="<function-name:1>",
        runtime=runtime,
        handler=recorded["_HANDLER"],
        memory_mib=1024,
        environment=(("TEST_KEY", "TEST_VAL"),),
        scope=replace(kit.SCOPE, region="<region>"),
        log=LogSettings(group="/aws/lambda/<function-name:1>"),
    )
    made = process_environment(version, facts(), same)
    assert made.pop("AWS_ENDPOINT_URL") == "http://169.254.100.1:4566"  # on AWS, AWS is where SDKs look
    assert made.pop("AWS_LAMBDA_LOG_STREAM_NAME") == f"2026/10/08/[$LATEST]{HEX}"
    recorded.pop("AWS_LAMBDA_LOG_STREAM_NAME")
    for name in ("PATH", "LD_LIBRARY_PATH"):  # Ruby's start puts a part in front that is there already
        recorded[name] = recorded[name].removeprefix("/var/lang/bin:").removeprefix("/var/lang/lib:")
        made[name] = made[name].removeprefix("/var/lang/bin:").removeprefix("/var/lang/lib:")
        recorded[name] = recorded[name].removeprefix("/var/lang/bin:").removeprefix("/var/lang/lib:")
    if not runtime.startswith(("java21", "dotnet")):
        made = {name: value for name, value in made.items() if name not in NOT_SEEN_BY_THE_FUNCTION}
    assert made == recorded


@pytest.mark.parametrize(
    ("name", "wins"),
    [
        pytest.param("TZ", "function", id="unreserved-platform-value-gives-way"),
        pytest.param("PATH", "function", id="path-gives-way"),
        pytest.param("AWS_ENDPOINT_URL", "function", id="endpoint-gives-way"),
        pytest.param("PYTHONPATH", "function", id="runtime-value-gives-way"),
        pytest.param("AWS_ACCESS_KEY_ID", "<aws-access-key-id:1>", id="credentials-stand"),
        pytest.param("AWS_REGION", "us-east-1", id="reserved-value-stands"),
        pytest.param("_HANDLER", "app.handler", id="handler-stands"),
    ],
)
def test_precedence_is_awss(kit, name, wins):
    version = replace(kit.VERSION, environment=((name, "function"),))
    made = process_environment(version, facts(runtime_environ={"PYTHONPATH": "runtime"}), same)
    assert made[name] == wins


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (LogSettings(group="g"), (None, None)),
        (LogSettings(group="g", is_json=True), ("JSON", "INFO")),
        (LogSettings(group="g", is_json=True, application_level="ERROR"), ("JSON", "ERROR")),
    ],
)
def test_log_format_and_level_are_told_for_json_only(kit, log, expected):
    made = process_environment(replace(kit.VERSION, log=log), facts(), same)
    assert (made.get("AWS_LAMBDA_LOG_FORMAT"), made.get("AWS_LAMBDA_LOG_LEVEL")) == expected


def test_bytecode_is_found_outside_of_the_functions_tree(kit):
    assert "PYTHONPYCACHEPREFIX" not in process_environment(kit.VERSION, facts(), same)
    assert process_environment(kit.VERSION, facts(has_bytecode=True), same)["PYTHONPYCACHEPREFIX"] == "/var/lambent/pyc"


def test_unisolated_sandbox_sees_its_own_places_but_the_functions_values_untouched(kit):
    version = replace(kit.VERSION, environment=(("MINE", "/var/task/data"),))
    made = process_environment(
        version, facts(runtime_api="127.0.0.1:4000", endpoint="127.0.0.1:4001"), lambda path: f"/host{path}"
    )
    assert made["LAMBDA_TASK_ROOT"] == "/host/var/task"
    assert made["PATH"] == "/host/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/host/opt/bin"
    assert made["MINE"] == "/var/task/data"
    assert made["AWS_LAMBDA_RUNTIME_API"] == "127.0.0.1:4000"
    assert made["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4001"
    assert made["AWS_LAMBDA_LOG_GROUP_NAME"] == "/aws/lambda/fn"


def test_secrets_are_not_in_the_representation():
    assert "<aws-secret" not in repr(facts())
    assert "<aws-session" not in repr(facts())

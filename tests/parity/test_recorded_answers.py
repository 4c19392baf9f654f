"""A live Lambent answers boto3 as AWS answered: tests/golden/parity/recorded.json, one test a record."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from lambent.runtimes.catalogue import RuntimeCatalogue
from lambent.runtimes.provider import RuntimeProvider
from lambent.testing.process import LambentProcess

from .player import Player

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/parity/recorded.json").read_text())
RECORDS = {record["id"].partition("::")[2]: record for record in GOLDEN["records"]}
NO_JAVA, NO_RUBY = "Lambent has no runtime client for Java yet", "Lambent has no runtime client for Ruby yet"
NO_DOTNET = "Lambent has no runtime client for .NET yet"
# Every record that is answered otherwise, and why. One that passes nevertheless fails the suite: strike it out.
EXPECTED_FAILURES = {
    "TestLambdaSnapStart::test_snapstart_update_function_configuration[java11]": NO_JAVA,
    "TestLambdaSnapStart::test_snapstart_update_function_configuration[java17]": NO_JAVA,
    "TestLambdaSnapStart::test_snapstart_update_function_configuration[dotnet8]": NO_DOTNET,
    "TestLambdaSnapStart::test_snapstart_update_function_configuration[dotnet10]": NO_DOTNET,
    "TestLambdaRuntimesCommon::test_uncaught_exception_invoke[ruby3.2]": NO_RUBY,
    "TestLambdaRuntimesCommon::test_uncaught_exception_invoke[ruby3.4]": NO_RUBY,
    "TestLambdaRuntimesCommon::test_introspection_invoke[ruby3.2]": NO_RUBY,
    "TestLambdaRuntimesCommon::test_introspection_invoke[ruby3.3]": NO_RUBY,
    "TestLambdaBehavior::test_runtime_introspection_arm": "emulation of another architecture is not built",
    "TestLambdaBehavior::test_lambda_invoke_timed_out_environment_reuse": (
        "recorded in an older form: since 2025 a timeout is {errorType: Sandbox.Timedout, errorMessage: RequestId: …}"
    ),
}


def runtimes_of(record) -> set[str]:
    """Return the interpreters of Python that a record needs; Node.js is fetched where it is absent."""
    used = {step.get("with", {}).get("Runtime", "") for step in record["steps"] if step.get("call") == "CreateFunction"}
    invokes = any("await" in step for step in record["steps"])
    return {name for name in used if name.startswith("python")} if invokes else set()


@pytest.fixture(scope="module")
def interpreters(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("search")
    provider = RuntimeProvider(
        RuntimeCatalogue.load(),
        runtime_root=folder,
        interpreter_root=folder,
        cache_dir=folder,
        configured={},
        host_environ=os.environ,
    )
    return {each.name: str(each.prefix) for each in asyncio.run(provider.find_interpreters())}


@pytest.fixture(scope="module")
def player(interpreters):
    with LambentProcess(settings={"interpreters": interpreters}) as server:
        yield Player(server.endpoint, GOLDEN["functions"])


def marked(name: str):
    reason = EXPECTED_FAILURES.get(name)
    return pytest.param(name, marks=[pytest.mark.xfail(strict=True, reason=reason)] if reason else [])


@pytest.mark.parametrize("name", [marked(name) for name in RECORDS])
def test_answers_are_those_of_aws(name, player, interpreters):
    absent = runtimes_of(RECORDS[name]) - interpreters.keys()
    if absent:
        pytest.skip(f"this host has no {', '.join(sorted(absent))}")
    assert player.play(RECORDS[name]) == []


def test_every_expected_failure_is_a_record():
    assert EXPECTED_FAILURES.keys() <= RECORDS.keys()

"""Versions, aliases and concurrency as boto3 sees them: moved under load, kept ahead, there again after a kill."""

import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

from lambent.testing.process import LambentProcess

from . import aws

SAYS = """
import os
print('loaded')
def handler(event, context):
    return {'says': %r, 'version': context.function_version, 'arn': context.invoked_function_arn,
            'init': os.environ['AWS_LAMBDA_INITIALIZATION_TYPE']}
"""


def publish(functions, name, says=None, **members) -> str:
    """Publish ``$LATEST``, with other code if ``says`` is given; return the number."""
    if says is not None:
        functions.update_function_code(FunctionName=name, ZipFile=aws.packed({"app.py": SAYS % says}))
        aws.wait(functions, "function_updated_v2", name)
    version = functions.publish_version(FunctionName=name, **members)["Version"]
    waiter = functions.get_waiter("published_version_active")
    waiter.wait(FunctionName=name, Qualifier=version, WaiterConfig={"Delay": 0.05, "MaxAttempts": 600})
    return version


def call(functions, name, qualifier=None):
    members = {} if qualifier is None else {"Qualifier": qualifier}
    answer = functions.invoke(FunctionName=name, Payload=b"{}", **members)
    return json.loads(answer["Payload"].read()), answer["ExecutedVersion"]


def wait_until(functions, name, qualifier, status="READY"):
    deadline = time.monotonic() + 50
    while time.monotonic() < deadline:
        config = functions.get_provisioned_concurrency_config(FunctionName=name, Qualifier=qualifier)
        if config["Status"] == status:
            return config
        time.sleep(0.05)
    raise AssertionError(config)


def test_versions_and_aliases_are_published_read_invoked_and_deleted(functions, deploy):
    name = deploy(SAYS % "one")
    first = publish(functions, name, Description="first")
    second = publish(functions, name, "two")
    arn = functions.create_alias(FunctionName=name, Name="live", FunctionVersion=first)["AliasArn"]
    for asked, qualifier, says, version in (
        (name, first, "one", "1"),
        (f"{name}:2", None, "two", "2"),
        (arn, None, "one", "1"),
        (name, "$LATEST", "two", "$LATEST"),
    ):
        payload, executed = call(functions, asked, qualifier)
        assert (payload["says"], payload["version"], executed) == (says, version, version)
    assert call(functions, arn)[0]["arn"] == arn
    pages = functions.get_paginator("list_versions_by_function").paginate(
        FunctionName=name, PaginationConfig={"PageSize": 1}
    )
    assert [each["Version"] for page in pages for each in page["Versions"]] == ["$LATEST", first, second]
    pages = functions.get_paginator("list_aliases").paginate(FunctionName=name)
    assert [each["Name"] for page in pages for each in page["Aliases"]] == ["live"]
    with pytest.raises(ClientError, match="aliases reference it"):
        functions.delete_function(FunctionName=name, Qualifier=first)
    functions.delete_function(FunctionName=name, Qualifier=second)
    with pytest.raises(ClientError, match=f"Function not found: .*:{name}:2"):
        call(functions, name, second)


def test_an_alias_is_shifted_under_load_without_a_failed_request(server, functions, deploy):
    name = deploy(SAYS % "blue")
    blue, green = publish(functions, name), publish(functions, name, "green")
    functions.create_alias(FunctionName=name, Name="live", FunctionVersion=blue)
    stop, seen = threading.Event(), []

    def load():
        own = aws.client("lambda", server.endpoint)
        answers = []
        while not stop.is_set():
            payload, executed = call(own, name, "live")
            assert payload["version"] == executed
            answers.append(payload["says"])
        return answers

    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(load) for _ in range(3)]
        for weight in (0.1, 0.5, 0.9):
            functions.update_alias(
                FunctionName=name, Name="live", RoutingConfig={"AdditionalVersionWeights": {green: weight}}
            )
            for _ in range(20):
                seen.append(call(functions, name, "live")[0]["says"])
        functions.update_alias(
            FunctionName=name, Name="live", FunctionVersion=green, RoutingConfig={"AdditionalVersionWeights": {}}
        )
        functions.delete_function(FunctionName=name, Qualifier=blue)
        after = {call(functions, name, "live")[0]["says"] for _ in range(10)}
        stop.set()
        counts = Counter(answer for each in running for answer in each.result())
    assert after == {"green"}
    assert set(seen) == {"blue", "green"}
    assert counts["blue"] > 0
    assert counts["green"] > 0


def test_reserved_concurrency_of_zero_stops_a_function_until_it_is_taken_away(functions, deploy):
    name = deploy(SAYS % "one")
    functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    with pytest.raises(ClientError) as caught:
        call(functions, name)
    assert caught.value.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
    functions.delete_function_concurrency(FunctionName=name)
    assert call(functions, name)[0]["says"] == "one"


def test_what_is_provisioned_is_initialised_ahead_and_no_call_up_to_it_is(functions, logs, server, deploy):
    name = deploy(SAYS % "one")
    version = publish(functions, name)
    functions.create_alias(FunctionName=name, Name="live", FunctionVersion=version)
    functions.put_provisioned_concurrency_config(FunctionName=name, Qualifier="live", ProvisionedConcurrentExecutions=3)
    config = wait_until(functions, name, "live")
    assert config["AvailableProvisionedConcurrentExecutions"] == 3

    def load():
        own = aws.client("lambda", server.endpoint)
        return [call(own, name, "live")[0]["init"] for _ in range(100)]

    with ThreadPoolExecutor(3) as pool:
        inits = Counter(init for each in [pool.submit(load) for _ in range(3)] for init in each.result())
    assert inits == {"provisioned-concurrency": 300}
    events = [
        event["message"]
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{name}")
        for event in page["events"]
    ]
    assert sum(message.startswith("INIT_START") for message in events) == 3
    assert sum(message.startswith("START") for message in events) == 300
    assert not [message for message in events if "Init Duration" in message and message.startswith("REPORT")]
    assert call(functions, name, "$LATEST")[0]["init"] == "on-demand"


def test_everything_is_there_again_after_a_kill(state_dir):
    with LambentProcess(state_dir) as server:
        functions = aws.client("lambda", server.endpoint)
        name = aws.create(functions, SAYS % "one")
        version = publish(functions, name)
        functions.create_alias(FunctionName=name, Name="live", FunctionVersion=version)
        functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=5)
        functions.put_provisioned_concurrency_config(
            FunctionName=name, Qualifier="live", ProvisionedConcurrentExecutions=2
        )
        wait_until(functions, name, "live")
        server.kill()
        server.start()
        functions = aws.client("lambda", server.endpoint)
        assert functions.get_function(FunctionName=name)["Concurrency"] == {"ReservedConcurrentExecutions": 5}
        wait_until(functions, name, "live")
        assert call(functions, name, "live") == (
            {
                "says": "one",
                "version": "1",
                "arn": f"arn:aws:lambda:{aws.REGION}:000000000000:function:{name}:live",
                "init": "provisioned-concurrency",
            },
            "1",
        )

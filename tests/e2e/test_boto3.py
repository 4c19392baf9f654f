"""The main flow as boto3 sees it."""

import base64
import hashlib
import re

import pytest
from botocore.exceptions import ClientError

from . import aws

HELLO = """
def handler(event, context):
    print('hello', event)
    return {'got': event, 'id': context.aws_request_id}
"""


def test_a_function_lives_from_creation_to_deletion(functions, logs):
    name, package = aws.new_name("life"), aws.packed({"app.py": HELLO})
    created = functions.create_function(
        FunctionName=name,
        Runtime=aws.PYTHON,
        Handler="app.handler",
        Role=aws.ROLE,
        Code={"ZipFile": package},
        MemorySize=256,
        Environment={"Variables": {"COLOUR": "blue"}},
        Tags={"team": "one"},
    )
    assert (created["State"], created["StateReasonCode"]) == ("Pending", "Creating")
    assert created["CodeSha256"] == base64.b64encode(hashlib.sha256(package).digest()).decode()
    aws.wait(functions, "function_active_v2", name)

    cold, warm = (aws.invoke(functions, name, {"n": n}) for n in (1, 2))
    assert cold.payload == {"got": {"n": 1}, "id": cold.request_id}
    assert warm.payload == {"got": {"n": 2}, "id": warm.request_id}
    assert cold.report["init"]
    assert warm.report["init"] is None
    assert re.fullmatch(
        rf"START RequestId: {warm.request_id} Version: \$LATEST\nhello {{'n': 2}}\n"
        rf"END RequestId: {warm.request_id}\nREPORT [^\n]+\n",
        warm.tail,
    )

    stream = logs.describe_log_streams(logGroupName=f"/aws/lambda/{name}")["logStreams"][0]
    events = logs.get_log_events(
        logGroupName=f"/aws/lambda/{name}", logStreamName=stream["logStreamName"], startFromHead=True
    )["events"]
    words = [event["message"].split(" ")[0] for event in events]
    assert words == ["INIT_START", "START", "hello", "END", "REPORT", "START", "hello", "END", "REPORT"]
    found = logs.filter_log_events(logGroupName=f"/aws/lambda/{name}", filterPattern='"hello"')["events"]
    assert [event["message"].strip() for event in found] == ["hello {'n': 1}", "hello {'n': 2}"]

    functions.update_function_code(FunctionName=name, ZipFile=aws.packed({"app.py": HELLO.replace("'got'", "'new'")}))
    aws.wait(functions, "function_updated_v2", name)
    changed = aws.invoke(functions, name, 3)
    assert changed.payload["new"] == 3
    assert changed.report["init"]
    functions.update_function_configuration(FunctionName=name, MemorySize=512, Environment={"Variables": {}})
    aws.wait(functions, "function_updated_v2", name)
    assert aws.invoke(functions, name).report["size"] == "512"

    arn = created["FunctionArn"]
    functions.tag_resource(Resource=arn, Tags={"cost": "two"})
    functions.untag_resource(Resource=arn, TagKeys=["team"])
    assert functions.list_tags(Resource=arn)["Tags"] == {"cost": "two"}

    functions.delete_function(FunctionName=name)
    with pytest.raises(functions.exceptions.ResourceNotFoundException):
        functions.get_function(FunctionName=name)


def test_paginators_pass_every_function_once(functions, deploy):
    made = {deploy(HELLO, name=aws.new_name(f"page{n}")) for n in range(5)}
    pages = functions.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 2})
    listed = [each["FunctionName"] for page in pages for each in page["Functions"]]
    assert made <= set(listed)
    assert len(listed) == len(set(listed))


def test_log_paginators_pass_every_event_once(functions, logs, deploy):
    name = deploy("def handler(event, context):\n    for n in range(25):\n        print('line', n)\n")
    aws.invoke(functions, name)
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=f"/aws/lambda/{name}", filterPattern="line", PaginationConfig={"PageSize": 7}
    )
    lines = [event["message"].strip() for page in pages for event in page["events"]]
    assert lines == [f"line {n}" for n in range(25)]


def test_waiter_tells_a_runtime_that_is_not_there(functions):
    name = aws.new_name()
    functions.create_function(
        FunctionName=name, Runtime="java21", Handler="a.B", Role=aws.ROLE, Code={"ZipFile": aws.packed({"A": ""})}
    )
    with pytest.raises(Exception, match="terminal failure state"):
        aws.wait(functions, "function_active_v2", name)
    found = functions.get_function_configuration(FunctionName=name)
    assert (found["State"], found["StateReasonCode"]) == ("Failed", "InvalidRuntime")
    assert "java21" in found["StateReason"]
    functions.delete_function(FunctionName=name)


def test_dry_run_runs_nothing(functions, logs, deploy):
    name = deploy(HELLO)
    assert functions.invoke(FunctionName=name, InvocationType="DryRun")["StatusCode"] == 204
    assert logs.describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{name}")["logGroups"] == []


def test_an_old_revision_changes_nothing(functions, deploy):
    name = deploy(HELLO)
    with pytest.raises(functions.exceptions.PreconditionFailedException):
        functions.update_function_configuration(
            FunctionName=name, Timeout=9, RevisionId="00000000-0000-4000-8000-000000000000"
        )
    assert functions.get_function_configuration(FunctionName=name)["Timeout"] == 3


def test_what_is_not_built_says_so(functions):
    with pytest.raises(ClientError) as caught:
        functions.list_event_source_mappings()
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert "ListEventSourceMappings" in caught.value.response["Error"]["Message"]


def test_client_context_and_trace_reach_the_function(functions, deploy):
    name = deploy(
        "import os\n"
        "def handler(event, context):\n"
        "    found = context.client_context\n"
        "    return [found.custom, found.env, os.environ['_X_AMZN_TRACE_ID'], context.invoked_function_arn]\n"
    )
    context = base64.b64encode(b'{"custom": {"a": "b"}, "env": {"c": "d"}, "client": {}}').decode()
    trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    client = functions
    added = {"X-Amzn-Trace-Id": trace}

    def add(request, **_):
        request.headers.update(added)

    client.meta.events.register("before-send.lambda.Invoke", add)
    try:
        answer = aws.invoke(client, name, ClientContext=context)
    finally:
        client.meta.events.unregister("before-send.lambda.Invoke", add)
    custom, env, seen_trace, arn = answer.payload
    assert (custom, env) == ({"a": "b"}, {"c": "d"})
    assert seen_trace.startswith("Root=1-5759e988-bd862e3fe1be46a994272793")
    assert arn == f"arn:aws:lambda:{aws.REGION}:000000000000:function:{name}"

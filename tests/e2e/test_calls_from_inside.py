"""Functions that call AWS with unmodified clients: boto3, the SDK for JavaScript; no code knows of Lambent."""

import re

import pytest

from . import aws

# Runs what its event brings, as a function would have it in its own code.
PYTHON = """
import json
import boto3

def handler(event, context):
    scope = dict(globals(), event=event, context=context)
    exec(event["code"], scope)
    return scope["result"]
"""
INVOKE_IN_PYTHON = """
payload = json.dumps({"said": "hello"})
answer = boto3.client("lambda").invoke(FunctionName=event["name"], Payload=payload, LogType="Tail")
result = [answer["StatusCode"], json.loads(answer["Payload"].read()), "LogResult" in answer]
"""
# An ES module finds the SDK where a managed runtime has it.
JAVASCRIPT = """
import { LambdaClient, InvokeCommand, ListFunctionsCommand } from '@aws-sdk/client-lambda'
import { CloudWatchLogsClient, DescribeLogStreamsCommand } from '@aws-sdk/client-cloudwatch-logs'
import { STSClient, GetCallerIdentityCommand } from '@aws-sdk/client-sts'

const lambda = new LambdaClient(), logs = new CloudWatchLogsClient(), sts = new STSClient()
export const handler = async (event, context) => {
    const answer = await lambda.send(new InvokeCommand({ FunctionName: event.name, Payload: '{"said": "hello"}' }))
    const { Functions } = await lambda.send(new ListFunctionsCommand({}))
    const { logStreams } = await logs.send(
        new DescribeLogStreamsCommand({ logGroupName: context.logGroupName }))
    const { Arn } = await sts.send(new GetCallerIdentityCommand({}))
    return [Arn, answer.StatusCode, JSON.parse(Buffer.from(answer.Payload).toString()),
        Functions.some((each) => each.FunctionName === event.name),
        logStreams.some((each) => each.logStreamName === context.logStreamName)]
}
"""
ECHO = "def handler(event, context): return {'echo': event, 'name': context.function_name}"


def session_arn(name):
    return f"arn:aws:sts::000000000000:assumed-role/e2e/{name}"


@pytest.fixture(scope="module")
def echo(functions):
    name = aws.create(functions, ECHO)
    yield name
    functions.delete_function(FunctionName=name)


@pytest.fixture(scope="module")
def python(functions):
    name = aws.create(functions, PYTHON, Timeout=30, MemorySize=512)
    yield name
    functions.delete_function(FunctionName=name)


def test_boto3_in_a_function_invokes_another_function(functions, python, echo):
    answer = aws.invoke(functions, python, {"code": INVOKE_IN_PYTHON, "name": echo})
    assert answer.payload == [200, {"echo": {"said": "hello"}, "name": echo}, True]


def test_the_sdk_for_javascript_in_a_function_calls_lambda_logs_and_sts(functions, deploy, echo):
    package = aws.packed({"app.mjs": JAVASCRIPT})
    name = deploy(package, runtime=aws.NODE, Timeout=30, MemorySize=512)
    answer = aws.invoke(functions, name, {"name": echo})
    assert answer.payload == [session_arn(name), 200, {"echo": {"said": "hello"}, "name": echo}, True, True]


def test_boto3_in_a_function_writes_and_reads_logs(functions, python):
    code = """
logs, now = boto3.client("logs"), int(__import__("time").time() * 1000)
logs.create_log_stream(logGroupName=context.log_group_name, logStreamName="own")
logs.put_log_events(logGroupName=context.log_group_name, logStreamName="own",
                    logEvents=[{"timestamp": now, "message": "from inside"}])
events = logs.get_log_events(logGroupName=context.log_group_name, logStreamName="own", startFromHead=True)["events"]
result = [each["message"] for each in events]
"""
    assert aws.invoke(functions, python, {"code": code}).payload == ["from inside"]


def test_a_function_is_its_roles_session_and_who_calls_from_outside_is_another(functions, server, python):
    code = "result = boto3.client('sts').get_caller_identity()\nresult.pop('ResponseMetadata')"
    told = aws.invoke(functions, python, {"code": code}).payload
    assert (told["Arn"], told["Account"]) == (session_arn(python), "000000000000")
    assert re.fullmatch(rf"AROA[A-Z2-7]{{17}}:{python}", told["UserId"])
    outside = aws.client("sts", server.endpoint).get_caller_identity()
    assert (outside["Arn"], outside["UserId"]) == ("arn:aws:iam::000000000000:root", "000000000000")


def test_a_function_assumes_another_role_and_calls_with_what_it_got(functions, python, echo):
    code = """
role = {"RoleArn": "arn:aws:iam::000000000000:role/team/other", "RoleSessionName": "from-inside"}
given = boto3.client("sts").assume_role(**role)["Credentials"]
names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
key = dict(zip(names, (given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])))
answer = boto3.client("lambda", **key).invoke(FunctionName=event["name"], Payload=b"1")
result = [boto3.client("sts", **key).get_caller_identity()["Arn"], answer["StatusCode"]]
"""
    arn = "arn:aws:sts::000000000000:assumed-role/other/from-inside"
    assert aws.invoke(functions, python, {"code": code, "name": echo}).payload == [arn, 200]


def test_a_function_may_call_itself(functions, python):
    code = """
if event["depth"] == 0:
    result = "the bottom"
else:
    more = dict(event, depth=event["depth"] - 1)
    answer = boto3.client("lambda").invoke(FunctionName=context.function_name, Payload=json.dumps(more))
    result = json.loads(answer["Payload"].read())
"""
    assert aws.invoke(functions, python, {"code": code, "depth": 3}).payload == "the bottom"


def test_a_function_that_sets_an_endpoint_of_its_own_calls_that(functions, deploy):
    name = deploy(PYTHON, Timeout=30, Environment={"Variables": {"AWS_ENDPOINT_URL_SQS": "http://127.0.0.1:1"}})
    code = 'result = [boto3.client(each).meta.endpoint_url for each in ("lambda", "sqs")]'
    assert aws.invoke(functions, name, {"code": code}).payload == ["http://169.254.100.1:4566", "http://127.0.0.1:1"]

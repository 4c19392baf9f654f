"""Invoke, asked by boto3 and by raw peers."""

import asyncio
import base64
import re
from dataclasses import replace

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from lambent.frontend.invoke import InvokeDoor, find_plain_request, is_invoke
from lambent.http.application import Request, RequestHead
from lambent.model.errors import HostError, Throttled, ThrottleReason
from lambent.model.names import parse_function_reference
from lambent.wire.service import ServiceCodec

pytestmark = pytest.mark.anyio
UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")


async def failure_of(function, **members):
    with pytest.raises(ClientError) as failed:
        await asyncio.to_thread(function, **members)
    return failed.value.response


async def test_invoke_carries_everything_there_and_back(door, recorder):
    context = '{"custom": {"a": "b"}}'
    recorder.result = replace(recorder.result, function_error="Unhandled", executed_version="7")
    async with door() as it:
        answer = await asyncio.to_thread(
            it.client().invoke,
            FunctionName="hello",
            Qualifier="live",
            Payload=b'{"n": 1}',
            LogType="Tail",
            ClientContext=base64.b64encode(context.encode()).decode(),
            TenantId="tenant 1",
        )
        call = recorder.calls[0]
        assert (call.target.name, call.target.qualifier) == ("hello", "live")
        assert call.target.arn == "arn:aws:lambda:eu-west-1:123456789012:function:hello:live"
        assert (call.payload, call.client_context, call.tenant_id) == (b'{"n": 1}', context, "tenant 1")
        assert (call.wants_log_tail, call.is_dry_run, call.sink) == (True, False, None)
        assert call.caller_arn == "arn:aws:iam::123456789012:user/me"
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        assert headers["x-amzn-requestid"] == call.request_id
        assert UUID.fullmatch(call.request_id)
        assert headers["x-amzn-trace-id"] == call.trace_header
        assert headers["x-amzn-remapped-content-length"] == "0"
        assert (headers["content-type"], headers["connection"]) == ("application/json", "keep-alive")
        assert answer["Payload"].read() == b'"ok"'
        assert (answer["StatusCode"], answer["FunctionError"], answer["ExecutedVersion"]) == (200, "Unhandled", "7")
        assert base64.b64decode(answer["LogResult"]) == b"START\n"


async def test_plain_invoke_shows_no_log_and_no_error(door, recorder):
    async with door() as it:
        answer = await asyncio.to_thread(it.client().invoke, FunctionName="hello")
        assert "LogResult" not in answer
        assert "FunctionError" not in answer
        assert recorder.calls[0].payload == b"{}"
        assert recorder.calls[0].target.qualifier is None


@pytest.mark.parametrize(
    ("name", "qualifier", "target"),
    [
        ("arn:aws:lambda:eu-west-1:123456789012:function:f", None, ("f", None)),
        ("arn:aws:lambda:eu-west-1:123456789012:function:f:live", None, ("f", "live")),
        ("123456789012:function:f:3", "3", ("f", "3")),
        ("f:$LATEST", None, ("f", "$LATEST")),
        ("f", "$LATEST", ("f", "$LATEST")),
        ("f", "12", ("f", "12")),
        ("n" * 65, None, ("n" * 65, None)),
    ],
)
async def test_function_may_be_named_in_every_way_of_aws(door, recorder, name, qualifier, target):
    members = {"FunctionName": name} | ({"Qualifier": qualifier} if qualifier else {})
    async with door() as it:
        await asyncio.to_thread(it.client().invoke, **members)
        assert (recorder.calls[0].target.name, recorder.calls[0].target.qualifier) == target


# Recorded from AWS: names, qualifiers and regions that Invoke refuses.
@pytest.mark.parametrize(
    ("members", "status", "code", "message"),
    [
        (
            {"FunctionName": "arn:aws:lambda:eu-west-1:123400000000@function:myfn"},
            400,
            "ValidationException",
            "error detected: Value 'arn:aws:lambda:eu-west-1:123400000000@function:myfn' at 'functionName'",
        ),
        ({"FunctionName": "my-function", "Qualifier": "invalid!"}, 400, "ValidationException", "at 'qualifier'"),
        (
            {"FunctionName": "f:1", "Qualifier": "2"},
            400,
            "InvalidParameterValueException",
            "The derived qualifier from the function name does not match the specified qualifier.",
        ),
        (
            {"FunctionName": "arn:aws:lambda:us-east-1:123456789012:function:f"},
            404,
            "ResourceNotFoundException",
            "Functions from 'us-east-1' are not reachable in this region ('eu-west-1')",
        ),
        (
            {"FunctionName": "f", "InvocationType": "Sometimes"},
            400,
            "ValidationException",
            "Member must satisfy enum value set",
        ),
        ({"FunctionName": "f", "LogType": "All"}, 400, "ValidationException", "at 'logType'"),
        (
            {"FunctionName": "f", "ClientContext": "string"},
            400,
            "InvalidRequestContentException",
            "Client context must be a valid Base64-encoded JSON object.",
        ),
        (
            {"FunctionName": "f", "DurableExecutionName": "d"},
            400,
            "InvalidParameterValueException",
            "DurableExecutionName is not supported yet",
        ),
        (
            {"FunctionName": "f", "InvocationType": "Event"},
            501,
            "NotImplementedException",
            "Invoke with InvocationType Event is not implemented yet",
        ),
        (
            {"FunctionName": "f", "InvocationType": "Event", "Payload": b'"' + b"x" * 1_048_576 + b'"'},
            413,
            "RequestEntityTooLargeException",
            "1048578 byte payload is too large for the Event invocation type (limit 1048576 bytes)",
        ),
        (
            {"FunctionName": "f", "Payload": b"{"},
            400,
            "InvalidRequestContentException",
            "Could not parse request body into json: Could not parse payload into json: Unexpected end-of-input",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_request_that_aws_refuses_is_refused_in_its_words(door, recorder, members, status, code, message):
    async with door() as it:
        client = it.client(parameter_validation=False)
        response = await failure_of(client.invoke, **members)
        assert response["ResponseMetadata"]["HTTPStatusCode"] == status
        assert response["Error"]["Code"] == code
        assert message in response["Error"]["Message"]
        assert recorder.calls == []


async def test_dry_run_answers_204_with_nothing(door, recorder):
    async with door() as it:
        answer = await asyncio.to_thread(it.client().invoke, FunctionName="f", InvocationType="DryRun", LogType="Tail")
        assert (answer["StatusCode"], answer["Payload"].read()) == (204, b"")
        assert "ExecutedVersion" not in answer
        assert (recorder.calls[0].is_dry_run, recorder.calls[0].wants_log_tail) == (True, False)


async def test_payload_of_six_mebibytes_passes_and_one_byte_more_is_refused_before_it_is_read(door, recorder):
    fitting = b'"' + b"x" * (6_291_456 - 2) + b'"'
    async with door() as it:
        await asyncio.to_thread(it.client().invoke, FunctionName="f", Payload=fitting)
        assert recorder.calls[0].payload == fitting
        response = await failure_of(it.client().invoke, FunctionName="f", Payload=fitting + b" ")
        assert response["Error"]["Code"] == "RequestEntityTooLargeException"
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 413
        assert response["Error"]["Message"] == (
            "Request must be smaller than 6291456 bytes for the InvokeFunction operation"
        )
        announced = await it.raw(
            b"POST /2015-03-31/functions/f/invocations HTTP/1.1\r\nHost: a\r\nContent-Length: 6291457\r\n\r\n"
        )
        assert announced.startswith("HTTP/1.1 413 ")
        chunks = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        counted = await it.raw(
            b"POST /2015-03-31/functions/f/invocations HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            + chunks * 7
        )
        assert counted.startswith("HTTP/1.1 413 ")
        assert "Request must be smaller than 6291456 bytes for the InvokeFunction operation" in counted


async def test_errors_of_the_road_keep_their_members(door, recorder):
    recorder.failure = Throttled(ThrottleReason.RESERVED_CONCURRENT)
    async with door() as it:
        response = await failure_of(it.client().invoke, FunctionName="f")
        assert response["Error"] == {"Message": "Rate Exceeded.", "Code": "TooManyRequestsException"}
        assert response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 429


@pytest.mark.parametrize("failure", [HostError("the disk is full of secrets"), ZeroDivisionError("secrets")])
async def test_failure_of_this_machine_is_told_to_nobody_outside(door, recorder, failure):
    recorder.failure = failure
    async with door() as it:
        response = await failure_of(it.client().invoke, FunctionName="f")
        assert response["Error"]["Code"] == "ServiceException"
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 500
        assert "secrets" not in str(response)


async def test_result_that_no_header_can_carry_is_a_service_exception(door, recorder):
    recorder.result = replace(recorder.result, content_type="text/plain\r\nX-Evil: 1")
    async with door() as it:
        response = await failure_of(it.client().invoke, FunctionName="f")
        assert response["Error"]["Code"] == "ServiceException"


async def test_caller_who_hangs_up_ends_no_invocation(door, recorder):
    recorder.gate = asyncio.Event()
    async with door(mode="off") as it:
        _, writer = await asyncio.open_connection(*it.address)
        writer.write(b"POST /2015-03-31/functions/f/invocations HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
        async with asyncio.timeout(10):
            while not recorder.calls:  # noqa: ASYNC110  seen from outside
                await asyncio.sleep(0.001)
            writer.close()
            await it.server.close(0)
            assert (len(it.calls), recorder.ended) == (1, 0), "the server's end is not the invocation's"
            recorder.gate.set()
            while not recorder.ended:  # noqa: ASYNC110  seen from outside
                await asyncio.sleep(0.001)


async def test_forged_signature_invokes_nothing(door, recorder):
    async with door() as it:
        response = await failure_of(it.client(secret="x" * 40).invoke, FunctionName="f")
        assert response["Error"]["Code"] == "InvalidSignatureException"
        response = await failure_of(it.client(key="AKIAI44QH8DHBEXAMPLE").invoke, FunctionName="f")
        assert response["Error"]["Code"] == "UnrecognizedClientException"
        unsigned = await it.raw(b"POST /2015-03-31/functions/f/invocations HTTP/1.1\r\nHost: a\r\n\r\n")
        assert unsigned.startswith("HTTP/1.1 403 ")
        assert recorder.calls == []


@pytest.mark.parametrize(
    "target", ["/2015-03-31/functions/f/invocations/", "/2015-03-31/functions/f%3Alive/invocations"]
)
async def test_unusual_path_takes_the_long_way_to_the_same_place(door, recorder, target):
    async with door(mode="off") as it:
        answer = await it.raw(f"POST {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert answer.startswith("HTTP/1.1 200 ")
        assert recorder.calls[0].target.name == "f"


# -- both branches agree

CODEC = ServiceCodec.load("lambda")
NAMES = st.sampled_from(["f", "a-b_C9", "n" * 64, "n" * 65, "f.g", "f:1", "", "*", "%66", "f%20"])
QUALIFIERS = ["1", "live", "$LATEST", "%24LATEST", "", "a!", "1&Qualifier=2", "$LATEST.PUBLISHED", "a" * 129]
QUERIES = st.sampled_from(["", "qualifier=1", "Other=1", *(f"Qualifier={each}" for each in QUALIFIERS)])
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["x-amz-invocation-type", "x-amz-log-type", "x-amz-tenant-id", "x-amz-client-context", "host"]),
        st.sampled_from(["RequestResponse", "Event", "DryRun", "None", "Tail", "e30=", "a b", "a|b", "", "x" * 257]),
    ),
    max_size=4,
)


@given(name=NAMES, query=QUERIES, headers=HEADERS)
def test_plain_branch_reads_nothing_differently_from_the_codec(name, query, headers):
    path = f"/2015-03-31/functions/{name}/invocations"
    head = RequestHead("POST", f"{path}?{query}", path, query, tuple(headers))
    assert is_invoke(head)
    plain = find_plain_request(head)
    if plain is None:
        return
    slow = InvokeDoor(None, CODEC, verify=None, clock=None, answers=None, accept_event=None)._parse_by_codec(
        Request(head)
    )
    assert replace(plain, is_plain_name=False) == slow
    scope = type("Scope", (), {"region": "eu-west-1", "account_id": "1" * 12, "partition": "aws"})()
    target = parse_function_reference(plain.function, plain.qualifier, scope, "InvokeFunction")
    assert (target.name, target.qualifier) == (plain.function, plain.qualifier)


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("Qualifier=a!", ()),
        ("", (("x-amz-invocation-type", "Never"),)),
        ("", (("x-amz-log-type", "All"),)),
        ("", (("x-amz-tenant-id", "a|b"),)),
        ("", (("x-amz-tenant-id", "a"), ("x-amz-tenant-id", "b"))),
    ],
)
def test_request_that_may_be_wrong_is_never_plain(query, headers):
    path = "/2015-03-31/functions/f/invocations"
    assert find_plain_request(RequestHead("POST", path, path, query, headers)) is None

"""One port for all services, asked by boto3 and by raw peers."""

import asyncio
import io
import json
import urllib.request
import zipfile

import pytest
from botocore.exceptions import ClientError

pytestmark = pytest.mark.anyio
REQUEST_ID = "6f1e2b1c-3d59-4a4b-9d2e-2b0d9f3f2b11"


async def failure_of(function, **members):
    with pytest.raises(ClientError) as failed:
        await asyncio.to_thread(function, **members)
    return failed.value.response


def head_of(answer):
    head, _, body = answer.partition("\r\n\r\n")
    lines = head.split("\r\n")
    return int(lines[0].split(" ")[1]), dict(line.lower().split(": ", 1) for line in lines[1:]), body


async def test_command_gets_members_and_context_and_its_result_is_rendered(door, recorder):
    async with door() as it:
        answer = await asyncio.to_thread(it.client().get_function, FunctionName="f", Qualifier="1")
        assert answer["Configuration"] == {"FunctionName": "f", "MemorySize": 128}
        assert recorder.members == [{"FunctionName": "f", "Qualifier": "1"}]
        context = recorder.contexts[0]
        assert (context.scope.account_id, context.scope.region) == ("123456789012", "eu-west-1")
        assert context.caller.arn == "arn:aws:iam::123456789012:user/me"
        assert context.endpoint == it.url
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        assert headers["x-amzn-requestid"] == context.request_id
        assert headers["content-type"] == "application/json"
        assert headers["date"].endswith(" GMT")


async def test_json_protocol_service_is_on_the_same_port(door, recorder):
    events = [{"timestamp": 1, "message": "m"}]
    async with door() as it:
        members = {"logGroupName": "g", "logStreamName": "s", "logEvents": events}
        answer = await asyncio.to_thread(it.client("logs").put_log_events, **members)
        assert answer["nextSequenceToken"] == "1"
        assert answer["ResponseMetadata"]["HTTPHeaders"]["content-type"] == "application/x-amz-json-1.1"
        assert recorder.members == [members]


async def test_large_package_passes_whole(door, recorder):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.bin", b"x" * 10_000_000)
    async with door() as it:
        answer = await asyncio.to_thread(
            it.client().create_function,
            FunctionName="f",
            Role="arn:aws:iam::123456789012:role/r",
            Code={"ZipFile": packed.getvalue()},
        )
        assert answer["FunctionName"] == "f"
        assert recorder.members[0]["Code"]["ZipFile"] == packed.getvalue()


async def test_request_over_its_operations_limit_is_refused_before_it_is_read(door, recorder):
    async with door() as it:
        for path, method, limit, name in (
            ("/2015-03-31/functions", "POST", 70_167_211, "CreateFunction"),
            ("/2015-03-31/functions/f/configuration", "PUT", 8_388_608, "UpdateFunctionConfiguration"),
        ):
            announced = f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {limit + 1}\r\n\r\n".encode()
            status, headers, body = head_of(await it.raw(announced))
            assert (status, headers["x-amzn-errortype"]) == (413, "requestentitytoolargeexception")
            assert json.loads(body)["message"] == f"Request must be smaller than {limit} bytes for the {name} operation"


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("missing", 404, "ResourceNotFoundException"),
        ("host", 500, "ServiceException"),
        ("defect", 500, "ServiceException"),
    ],
)
async def test_errors_of_commands_have_awss_code_and_hide_the_cause(door, name, status, code):
    async with door() as it:
        response = await failure_of(it.client().get_function, FunctionName=name)
        assert response["ResponseMetadata"]["HTTPStatusCode"] == status
        assert response["Error"]["Code"] == code
        assert "secret" not in str(response)


async def test_malformed_members_get_the_validation_error_of_aws(door, recorder):
    async with door() as it:
        response = await failure_of(it.client().get_function, FunctionName="*")
        assert response["Error"]["Code"] == "ValidationException"
        assert response["Error"]["Message"].startswith("1 validation error detected: Value '*' at 'functionName'")
        assert recorder.members == []


@pytest.mark.parametrize(
    ("service", "call", "members", "name"),
    [
        ("lambda", "invoke_async", {"FunctionName": "f", "InvokeArgs": b"{}"}, "InvokeAsync"),
        ("lambda", "invoke_with_response_stream", {"FunctionName": "f"}, "InvokeWithResponseStream"),
        ("lambda", "list_layers", {}, "ListLayers"),
        ("logs", "describe_log_groups", {}, "DescribeLogGroups"),
        ("sqs", "list_queues", {}, "sqs"),
        ("dynamodb", "list_tables", {}, "dynamodb"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_operation_or_service_that_is_not_built_says_its_name(door, service, call, members, name):
    async with door() as it:
        response = await failure_of(getattr(it.client(service), call), **members)
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 501
        assert response["Error"] == {"Code": "NotImplementedException", "Message": f"{name} is not implemented yet"}


async def test_signature_is_required_for_every_service(door, recorder):
    async with door() as it:
        # Seen from AWS: the JSON protocols answer 400 where rest-json answers 403.
        for service, status, call, members in (
            ("lambda", 403, "get_function", {"FunctionName": "f"}),
            (
                "logs",
                400,
                "put_log_events",
                {"logGroupName": "g", "logStreamName": "s", "logEvents": [{"timestamp": 1, "message": "m"}]},
            ),
            ("sqs", 403, "list_queues", {}),
        ):
            response = await failure_of(getattr(it.client(service, secret="wrong"), call), **members)
            assert response["ResponseMetadata"]["HTTPStatusCode"] == status
            assert response["Error"]["Code"] == "InvalidSignatureException"
        assert recorder.members == []


async def test_unknown_path_is_answered_as_by_awss_front_layer(door):
    async with door(mode="off") as it:
        for path in ("/", "/2015-03-31/functions/f/nonsense", "/2015-03-31/nonsense"):
            status, headers, body = head_of(await it.raw(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()))
            assert (status, body) == (404, "<UnknownOperationException/>\n")
            assert len(headers["x-amzn-requestid"]) == 36
        target = b"POST / HTTP/1.1\r\nHost: a\r\nX-Amz-Target: Logs_20140328.Nonsense\r\n\r\n"
        status, headers, _ = head_of(await it.raw(target))
        assert (status, headers["x-amzn-errortype"]) == (400, "unknownoperationexception")


async def test_request_id_of_the_caller_is_kept_if_it_is_a_uuid_and_refused_if_not(door, recorder):
    async with door(mode="off") as it:
        asked = "GET /2015-03-31/functions/f HTTP/1.1\r\nHost: a\r\nx-amzn-RequestId: {}\r\n\r\n"
        status, headers, _ = head_of(await it.raw(asked.format(REQUEST_ID.upper()).encode()))
        assert (status, headers["x-amzn-requestid"], recorder.contexts[0].request_id) == (200, REQUEST_ID, REQUEST_ID)
        status, headers, body = head_of(await it.raw(asked.format("not-a-uuid").encode()))
        assert (status, headers["x-amzn-errortype"]) == (400, "invalidrequestcontentexception")
        assert json.loads(body)["Type"] == "User"
        assert headers["x-amzn-requestid"] != "not-a-uuid"


@pytest.mark.parametrize("path", ["/2015-03-31/functions/f/invocations", "/2015-03-31/functions", "/_lambent/health"])
async def test_foreign_origin_is_refused_before_anything_else(door, recorder, path):
    recorder.refused_origin = "requests of other web pages are refused"
    async with door(mode="off") as it:
        status, headers, body = head_of(
            await it.raw(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n".encode())
        )
        assert (status, headers["content-type"]) == (403, "application/json")
        assert json.loads(body) == {"message": recorder.refused_origin}
        assert recorder.calls == []


async def test_health_and_readiness_are_told_outside_and_absent_inside(door, recorder):
    get = "GET /_lambent/{} HTTP/1.1\r\nHost: a\r\n\r\n"
    async with door() as it:
        assert json.loads(head_of(await it.raw(get.format("health").encode()))[2]) == {"status": "ok"}
        assert head_of(await it.raw(get.format("ready").encode()))[0] == 200
        recorder.trouble = "the store cannot write"
        status, _, body = head_of(await it.raw(get.format("ready").encode()))
        assert (status, json.loads(body)) == (503, {"ready": False, "reason": "the store cannot write"})
        assert head_of(await it.raw(get.format("nonsense").encode()))[0] == 404
    async with door(inside=True) as it:
        for name in ("health", "ready"):
            assert head_of(await it.raw(get.format(name).encode()))[0] == 404


async def test_inside_nothing_but_a_missing_signature_is_told_to_who_has_not_signed(door, recorder):
    async with door(inside=True) as it:
        for line in ("GET /", "GET /nonsense", "POST /", "GET /2015-03-31/functions/f", "POST /2015-03-31/functions"):
            status, headers, _ = head_of(await it.raw(f"{line} HTTP/1.1\r\nHost: a\r\n\r\n".encode()))
            assert (status, headers["x-amzn-errortype"]) == (403, "missingauthenticationtokenexception")


async def test_what_runs_at_a_stop_ends_well_and_what_comes_then_is_refused_in_words(door, recorder):
    recorder.gate = asyncio.Event()
    async with door() as it:
        client = it.client()
        running = asyncio.ensure_future(asyncio.to_thread(client.invoke, FunctionName="f"))
        await recorder.called.wait()
        stopping = asyncio.ensure_future(it.gateway.stop(10))
        await asyncio.sleep(0)
        response = await failure_of(it.client().get_function, FunctionName="f")
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 503
        words = "This server is stopping and takes no new requests."
        assert response["Error"] == {"Code": "ServiceUnavailableException", "Message": words}
        ready = head_of(await it.raw(b"GET /_lambent/ready HTTP/1.1\r\nHost: a\r\n\r\n"))
        assert (ready[0], json.loads(ready[2])) == (503, {"ready": False, "reason": "stopping"})
        recorder.gate.set()
        assert (await running)["StatusCode"] == 200
        assert await stopping == 0
        assert len(recorder.calls) == 1


async def test_a_stop_counts_what_does_not_end_in_time(door, recorder):
    recorder.gate = asyncio.Event()
    async with door() as it:
        running = asyncio.ensure_future(asyncio.to_thread(it.client().invoke, FunctionName="f"))
        await recorder.called.wait()
        assert await it.gateway.stop(0.01) == 1
        recorder.gate.set()
        await running


async def test_code_is_given_for_a_token_and_refused_without(door, recorder):
    data = bytes(range(256)) * 4000
    recorder.zips["token", "e=1"] = data
    async with door() as it:

        def fetch(url):
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.headers["content-length"], answer.headers["content-type"], answer.read()

        got = await asyncio.to_thread(fetch, f"{it.url}/_lambent/code/token?e=1")
        assert got == (str(len(data)), "application/zip", data)
        status, _, body = head_of(await it.raw(b"GET /_lambent/code/other HTTP/1.1\r\nHost: a\r\n\r\n"))
        assert (status, "<Code>AccessDenied</Code>" in body) == (403, True)


async def test_download_that_breaks_off_is_not_taken_for_whole(door, recorder):
    async def broken(token, query):
        async def chunks():
            yield b"half"
            raise OSError("disk")

        from lambent.frontend.seams import CodeDownload

        return CodeDownload(8, chunks())

    recorder.open_code = broken
    async with door() as it:
        answer = await it.raw(b"GET /_lambent/code/x HTTP/1.1\r\nHost: a\r\n\r\n")
        assert "content-length: 8" in answer.lower()
        assert not answer.endswith("halfhalf")

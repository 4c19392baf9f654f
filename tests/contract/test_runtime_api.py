"""The Runtime API as a raw client sees it: every endpoint, header, state and refusal, byte by byte."""

import asyncio
import base64
import json
import socket
from contextlib import asynccontextmanager

import pytest

from lambent.environment.api_server import ApiServers
from lambent.environment.runtime_api import Exchange, RuntimeApi
from lambent.http.application import BodyPlan
from lambent.model.ids import RequestId
from lambent.model.invocations import SYNC_RESPONSE_LIMIT_BYTES
from lambent.testing.clock import FakeClock

pytestmark = pytest.mark.anyio

ID = RequestId("8476a536-e9f4-11e8-9739-2dfe598c3fcd")
ATTEMPT = "11111111-2222-4333-8444-555555555555"
PREFIX = "/2018-06-01/runtime"
NEXT = f"{PREFIX}/invocation/next"
RESPONSE = f"{PREFIX}/invocation/{ID}/response"
ERROR = f"{PREFIX}/invocation/{ID}/error"
INIT_ERROR = f"{PREFIX}/init/error"
TYPE = "Lambda-Runtime-Function-Error-Type"
MODE = "Lambda-Runtime-Function-Response-Mode"
TRANSITION = "State transition from {} to {} failed for runtime. Error: State transition is not allowed"


class Observer:
    def __init__(self):
        self.ready, self.started, self.init_errors, self.answers = 0, 0, [], []

    def runtime_ready(self):
        self.ready += 1

    def init_failed(self, answer):
        self.init_errors.append(answer)

    def response_started(self, exchange):
        self.started += 1

    def answered(self, exchange, answer):
        self.answers.append(answer)


class Sink:
    def __init__(self):
        self.content_type, self.chunks = None, []

    async def start(self, content_type):
        self.content_type = content_type

    async def write(self, chunk):
        self.chunks.append(chunk)


class Client:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def send(self, method, path, headers=(), body=b""):
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: 169.254.100.1:9001",
            *(f"{k}: {v}" for k, v in dict(headers).items()),
        ]
        if body or method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    async def read(self):
        async with asyncio.timeout(10):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
            return int(head[0].split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))

    async def ask(self, method, path, headers=(), body=b""):
        await self.send(method, path, headers, body)
        return await self.read()


class Conversation:
    def __init__(self, **settings):
        self.observer = Observer()
        self.api = RuntimeApi(self.observer, **settings)

    @asynccontextmanager
    async def open(self):
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        with listener:
            async with ApiServers(FakeClock()).open_server(self.api, listener):
                self._address = listener.getsockname()
                self._writers = []
                try:
                    yield self, await self.connect()
                finally:
                    for writer in self._writers:
                        writer.close()

    async def connect(self):
        reader, writer = await asyncio.open_connection(*self._address)
        self._writers.append(writer)
        return Client(reader, writer)

    def event(self, payload=b'{"key": 1}', headers=(("Content-Type", "application/json"),), sink=None):
        self.api.open(Exchange(ID, ATTEMPT, [("Lambda-Runtime-Aws-Request-Id", ID), *headers], payload, sink))


@asynccontextmanager
async def conversation(**settings):
    async with Conversation(**settings).open() as both:
        yield both


@asynccontextmanager
async def running(**event):
    """A conversation in the middle of an invocation."""
    async with conversation() as (talk, client):
        talk.event(**event)
        status, _, _ = await client.ask("GET", NEXT)
        assert status == 200
        yield talk, client


async def until(predicate):
    async with asyncio.timeout(10):
        while not predicate():  # noqa: ASYNC110 - of the server's state, in the loop of the test
            await asyncio.sleep(0.0005)


def refusal(error_type, message):
    return {"errorType": error_type, "errorMessage": message}


async def test_ping_pongs():
    async with conversation() as (_, client):
        status, _, body = await client.ask("GET", "/2018-06-01/ping")
        assert (status, body) == (200, b"pong")


async def test_next_waits_for_an_event_and_gives_its_headers_and_body():
    async with conversation() as (talk, client):
        await client.send("GET", NEXT)
        await until(lambda: talk.observer.ready == 1)
        talk.event(b'{"a": 1}', [("Content-Type", "application/json"), ("Lambda-Runtime-Deadline-Ms", "1542409706888")])
        status, headers, body = await client.read()
    assert (status, body) == (200, b'{"a": 1}')
    assert headers["lambda-runtime-aws-request-id"] == ID
    assert headers["lambda-runtime-deadline-ms"] == "1542409706888"
    assert headers["content-type"] == "application/json"


async def test_event_that_came_first_is_given_at_once():
    async with running() as (talk, _):
        assert talk.api.state == "Running"
        assert talk.observer.ready == 1


async def test_next_during_an_invocation_gives_the_same_event_again():
    async with running() as (talk, client):
        status, headers, body = await client.ask("GET", NEXT)
        assert (status, headers["lambda-runtime-aws-request-id"], body) == (200, ID, b'{"key": 1}')
        assert talk.observer.ready == 1


async def test_second_poller_takes_the_place_of_the_first():
    async with conversation() as (talk, first):
        await first.send("GET", NEXT)
        second = await talk.connect()
        await until(lambda: talk.observer.ready == 1)
        first_poller = talk.api._poller
        await second.send("GET", NEXT)
        await until(lambda: talk.api._poller is not first_poller)
        talk.event(b"6")
        assert (await second.read())[2] == b"6"
        assert talk.observer.ready == 1


async def test_poller_that_hung_up_does_not_lose_the_event():
    async with conversation() as (talk, first):
        await first.send("GET", NEXT)
        await until(lambda: talk.api._poller is not None)
        first.writer.close()
        await until(lambda: talk.api._poller is None)
        talk.event(b"5")
        second = await talk.connect()
        status, _, body = await second.ask("GET", NEXT)
        assert (status, body) == (200, b"5")


async def test_response_is_accepted_and_reaches_the_observer_untouched():
    async with running() as (talk, client):
        status, headers, body = await client.ask("POST", RESPONSE, {"Content-Type": "text/x"}, b"\x00raw\xff")
        assert (status, json.loads(body), headers["content-type"]) == (202, {"status": "OK"}, "application/json")
    (answer,) = talk.observer.answers
    assert (answer.payload, answer.content_type, answer.error_type) == (b"\x00raw\xff", "text/x", None)
    assert talk.observer.started == 1


async def test_runtime_is_ready_again_when_it_asks_for_next():
    async with running() as (talk, client):
        await client.ask("POST", RESPONSE, {}, b"1")
        assert talk.observer.ready == 1
        await client.send("GET", NEXT)
        await until(lambda: talk.observer.ready == 2)


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, SYNC_RESPONSE_LIMIT_BYTES])
async def test_response_of_any_size_up_to_the_limit_is_taken_whole(size):
    async with running() as (talk, client):
        status, _, _ = await client.ask("POST", RESPONSE, {}, b"x" * size)
        assert status == 202
    assert len(talk.observer.answers[0].payload) == size
    assert talk.observer.answers[0].response_bytes == size


async def test_response_over_the_limit_is_413_and_the_runtime_goes_on():
    async with running() as (talk, client):
        status, _, body = await client.ask("POST", RESPONSE, {}, b"x" * (SYNC_RESPONSE_LIMIT_BYTES + 1))
        assert (status, json.loads(body)) == (
            413,
            refusal("RequestEntityTooLarge", "Exceeded maximum allowed payload size (6291556 bytes)."),
        )
        await client.send("GET", NEXT)
        await until(lambda: talk.observer.ready == 2)
    (answer,) = talk.observer.answers
    assert answer.error_type == "Function.ResponseSizeTooLarge"
    assert json.loads(answer.payload) == {
        "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
        "errorType": "Function.ResponseSizeTooLarge",
    }


async def test_chunked_response_is_joined():
    async with running() as (talk, client):
        client.writer.write(f"POST {RESPONSE} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        client.writer.write(b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        status, _, _ = await client.read()
        assert status == 202
    assert talk.observer.answers[0].payload == b"abcde"


@pytest.mark.parametrize("case", ["wrong", "unknown", "after-completion"])
@pytest.mark.parametrize("kind", ["response", "error"])
async def test_other_request_ids_are_refused_before_the_state_is_looked_at(case, kind):
    async with conversation() as (talk, client):
        path = f"{PREFIX}/invocation/{ID}/{kind}"
        if case != "unknown":
            talk.event()
            await client.ask("GET", NEXT)
        if case == "wrong":
            path = f"{PREFIX}/invocation/0-0/{kind}"
        if case == "after-completion":
            await client.ask("POST", RESPONSE, {}, b"1")
        status, _, body = await client.ask("POST", path, {}, b"2")
        assert (status, json.loads(body)) == (400, refusal("InvalidRequestID", "Invalid request ID"))
        assert len(talk.observer.answers) == (case == "after-completion")


async def test_response_before_next_is_an_invalid_transition():
    async with conversation() as (talk, client):
        talk.event()
        status, _, body = await client.ask("POST", RESPONSE, {}, b"1")
        assert (status, json.loads(body)) == (
            403,
            refusal("InvalidStateTransition", TRANSITION.format("Started", "InvocationResponse")),
        )
        status, _, body = await client.ask("POST", ERROR, {}, b"1")
        assert (status, json.loads(body)) == (
            403,
            refusal("InvalidStateTransition", TRANSITION.format("Started", "InvocationErrorResponse")),
        )


async def test_second_response_while_the_first_is_sent_is_an_invalid_transition():
    async with running() as (talk, client):
        client.writer.write(
            f"POST {RESPONSE} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n".encode()
        )
        await until(lambda: talk.api.state == "InvocationResponse")
        other = await talk.connect()
        status, _, body = await other.ask("POST", RESPONSE, {}, b"2")
        assert (status, json.loads(body)["errorMessage"]) == (
            403,
            TRANSITION.format("InvocationResponse", "InvocationResponse"),
        )
        client.writer.write(b"0\r\n\r\n")
        assert (await client.read())[0] == 202
    assert [answer.payload for answer in talk.observer.answers] == [b"a"]


async def test_next_after_an_init_error_and_init_error_after_next_are_invalid_transitions():
    async with conversation() as (talk, client):
        await client.ask("POST", INIT_ERROR, {}, b"{}")
        status, _, body = await client.ask("GET", NEXT)
        assert (status, json.loads(body)["errorMessage"]) == (403, TRANSITION.format("InitError", "Ready"))
    async with running() as (talk, client):
        status, _, body = await client.ask("POST", INIT_ERROR, {}, b"{}")
        assert (status, json.loads(body)["errorMessage"]) == (403, TRANSITION.format("Running", "InitError"))
        assert talk.observer.init_errors == []


@pytest.mark.parametrize(
    ("stated", "kept"),
    [
        pytest.param("Runtime.NoSuchHandler", "Runtime.NoSuchHandler", id="runtime"),
        pytest.param("Function.MyError", "Function.MyError", id="function"),
        pytest.param("Function.my", "Function.Unknown", id="function-not-in-camel-case"),
        pytest.param("Exception", "Runtime.Unknown", id="anything-else"),
        pytest.param(None, "Runtime.Unknown", id="none"),
        pytest.param("Runtime." + "A" * 9000, "Runtime.Unknown", id="endless"),
    ],
)
async def test_error_type_is_kept_only_in_awss_form(stated, kept):
    async with running() as (talk, client):
        body = b'{"errorMessage": "m", "errorType": "T", "stackTrace": []}'
        status, _, reply = await client.ask("POST", ERROR, {TYPE: stated} if stated else {}, body)
        assert (status, json.loads(reply)) == (202, {"status": "OK"})
    (answer,) = talk.observer.answers
    assert (answer.error_type, answer.payload) == (kept, body)


async def test_init_error_is_accepted_and_its_type_told_by_whether_it_is_json():
    for body, content_type in ((b'{"errorMessage": "x"}', "application/json"), (b"oops", "application/octet-stream")):
        async with conversation() as (talk, client):
            status, _, reply = await client.ask("POST", INIT_ERROR, {TYPE: "Runtime.Oops", "Content-Type": "a/b"}, body)
            assert (status, json.loads(reply)) == (202, {"status": "OK"})
        (answer,) = talk.observer.init_errors
        assert (answer.payload, answer.content_type, answer.error_type) == (body, content_type, "Runtime.Oops")


@pytest.mark.parametrize(
    ("attempt", "status"), [pytest.param(ATTEMPT, 202, id="same"), pytest.param(None, 202, id="absent")]
)
async def test_invocation_id_may_be_echoed_or_left_out(attempt, status):
    async with running() as (_, client):
        headers = {"Lambda-Runtime-Invocation-Id": attempt} if attempt else {}
        assert (await client.ask("POST", RESPONSE, headers, b"1"))[0] == status


async def test_wrong_invocation_id_is_a_late_answer_and_refused():
    async with running() as (talk, client):
        status, _, body = await client.ask("POST", RESPONSE, {"Lambda-Runtime-Invocation-Id": "other"}, b"1")
        assert (status, json.loads(body)["errorType"]) == (400, "InvalidInvocationId")
        assert talk.observer.answers == []
        assert (await client.ask("POST", RESPONSE, {}, b"2"))[0] == 202
    assert talk.observer.answers[0].payload == b"2"


async def test_response_mode_other_than_streaming_is_refused_and_fails_the_invocation():
    async with running() as (talk, client):
        status, _, body = await client.ask("POST", RESPONSE, {MODE: "sideways"}, b"1")
        assert (status, json.loads(body)) == (
            400,
            refusal("InvalidFunctionResponseMode", "Invalid function response mode"),
        )
    assert talk.observer.answers[0].error_type == "Runtime.InvalidResponseModeHeader"


async def test_streamed_response_reaches_the_sink_as_it_comes():
    sink = Sink()
    async with running(sink=sink) as (talk, client):
        head = f"POST {RESPONSE} HTTP/1.1\r\nHost: x\r\n{MODE}: streaming\r\nContent-Type: text/plain\r\n"
        client.writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n".encode())
        await until(lambda: sink.chunks == [b"abc"])
        assert sink.content_type == "text/plain"
        assert talk.observer.answers == []
        client.writer.write(b"2\r\nde\r\n0\r\n\r\n")
        assert (await client.read())[0] == 202
    assert b"".join(sink.chunks) == b"abcde"
    (answer,) = talk.observer.answers
    assert (answer.payload, answer.response_bytes, answer.error_type) == (b"", 5, None)


async def test_streamed_response_without_a_sink_is_buffered():
    async with running() as (talk, client):
        head = f"POST {RESPONSE} HTTP/1.1\r\nHost: x\r\n{MODE}: streaming\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.writer.write(f"{head}3\r\nabc\r\n0\r\n\r\n".encode())
        assert (await client.read())[0] == 202
    assert talk.observer.answers[0].payload == b"abc"


async def test_error_after_the_first_byte_comes_in_trailers():
    sink = Sink()
    late = base64.b64encode(b'{"errorMessage": "late"}').decode()
    async with running(sink=sink) as (talk, client):
        head = f"POST {RESPONSE} HTTP/1.1\r\nHost: x\r\n{MODE}: streaming\r\nTransfer-Encoding: chunked\r\n"
        client.writer.write(
            f"{head}Trailer: {TYPE}, Lambda-Runtime-Function-Error-Body\r\n\r\n3\r\nabc\r\n0\r\n".encode()
        )
        client.writer.write(f"{TYPE}: Function.Late\r\nLambda-Runtime-Function-Error-Body: {late}\r\n\r\n".encode())
        assert (await client.read())[0] == 202
    (answer,) = talk.observer.answers
    assert (answer.error_type, answer.payload) == ("Function.Late", b'{"errorMessage": "late"}')
    assert sink.chunks == [b"abc"]


@pytest.mark.parametrize("framing", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
async def test_truncated_response_fails_the_invocation(framing):
    async with running() as (talk, client):
        client.writer.write(f"POST {RESPONSE} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode())
        client.writer.write(b"3\r\nabc\r\n" if "chunked" in framing else b"abc")
        await until(lambda: talk.api.state == "InvocationResponse")
        client.writer.close()
        await until(lambda: talk.observer.answers)
    (answer,) = talk.observer.answers
    assert answer.error_type == "Runtime.TruncatedResponse"


async def test_cause_in_the_header_is_kept_up_to_64_kib():
    small = {
        "working_directory": "/var/task",
        "paths": ["/var/task/a.py"],
        "exceptions": [{"message": "m", "type": "T"}],
    }
    async with running() as (talk, client):
        await client.ask("POST", ERROR, {"Lambda-Runtime-Function-XRay-Error-Cause": json.dumps(small)}, b"{}")
    assert json.loads(talk.observer.answers[0].cause) == small
    stack = [{"path": "/var/task/a.py", "line": at, "label": "f"} for at in range(3000)]
    big = small | {"exceptions": [{"message": "m", "type": "T", "stack": stack}]}
    async with running() as (talk, client):
        await client.ask("POST", ERROR, {"Lambda-Runtime-Function-XRay-Error-Cause": json.dumps(big)}, b"{}")
    assert 0 < len(talk.observer.answers[0].cause) <= 65_536


@pytest.mark.parametrize("cause", ["not json", "{}", "[]", '{"exceptions": 7}'])
async def test_cause_without_sense_is_dropped(cause):
    async with running() as (talk, client):
        await client.ask("POST", ERROR, {"Lambda-Runtime-Function-XRay-Error-Cause": cause}, b"{}")
    assert talk.observer.answers[0].cause is None


async def test_cause_in_the_body_is_split_off():
    body = {"errorMessage": "m", "errorType": "T", "stackTrace": ["s"], "errorCause": {"working_directory": "/w"}}
    headers = {"Content-Type": "application/vnd.aws.lambda.error.cause+json", TYPE: "Function.T"}
    async with running() as (talk, client):
        await client.ask("POST", ERROR, headers, json.dumps(body).encode())
    (answer,) = talk.observer.answers
    assert json.loads(answer.payload) == {"errorMessage": "m", "errorType": "T", "stackTrace": ["s"]}
    assert (json.loads(answer.cause)["working_directory"], answer.content_type) == ("/w", "application/json")


async def test_body_with_cause_that_cannot_be_read_becomes_awss_fixed_text():
    async with running() as (talk, client):
        headers = {"Content-Type": "application/vnd.aws.lambda.error.cause+json"}
        assert (await client.ask("POST", ERROR, headers, b"nonsense"))[0] == 202
    (answer,) = talk.observer.answers
    assert (answer.payload, answer.content_type) == (b'"Invalid error body"', "application/octet-stream")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{PREFIX}/restore/next"),
        ("POST", f"{PREFIX}/restore/error"),
        ("POST", "/2020-01-01/extension/register"),
        ("PUT", "/2022-07-01/telemetry"),
        ("PUT", "/2020-08-15/logs"),
        ("GET", "/"),
        ("GET", f"{PREFIX}/invocation/{ID}/other"),
        ("GET", "/2018-06-01/"),
    ],
)
async def test_what_is_not_there_is_404(method, path):
    async with conversation() as (_, client):
        assert (await client.ask(method, path, {}, b"x" if method == "POST" else b""))[0] == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", NEXT), ("GET", RESPONSE), ("GET", ERROR), ("GET", INIT_ERROR), ("POST", "/2018-06-01/ping")],
)
async def test_wrong_method_is_405(method, path):
    async with conversation() as (_, client):
        assert (await client.ask(method, path))[0] == 405


async def test_restore_is_spoken_where_snapshots_are():
    async with conversation(is_snapstart=True) as (talk, client):
        await client.send("GET", f"{PREFIX}/restore/next")
        await until(lambda: talk.api.state == "RestoreReady")
        other = await talk.connect()
        status, _, body = await other.ask("GET", NEXT)
        assert (status, json.loads(body)["errorMessage"]) == (403, TRANSITION.format("RestoreReady", "Ready"))


async def test_abandoned_invocation_answers_nobody():
    async with running() as (talk, client):
        talk.api.abandon()
        status, _, body = await client.ask("POST", RESPONSE, {}, b"1")
        assert (status, json.loads(body)["errorType"]) == (400, "InvalidRequestID")
        assert talk.observer.answers == []


async def test_other_api_of_the_sandbox_is_a_further_application():
    class Extensions:
        def plan_body(self, head):
            return BodyPlan(10)

        def handle(self, request, reply):
            reply.send(200, (), b"extensions")

    async with conversation() as (talk, client):
        talk.api._others["2020-01-01"] = Extensions()
        assert (await client.ask("POST", "/2020-01-01/extension/register"))[2] == b"extensions"

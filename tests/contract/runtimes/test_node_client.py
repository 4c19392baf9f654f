"""Our runtime client for Node.js, run for real against a Runtime API. Formats are those that AWS's runtime shows."""

import base64
import json
import re

import pytest

OLD, NEW = "nodejs20.x", "nodejs24.x"
BOTH = pytest.mark.parametrize("runtime", [OLD, NEW])
ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


@BOTH
@pytest.mark.parametrize(
    ("files", "handler"),
    [
        pytest.param({"index.js": "exports.handler = async (e) => ({ got: e })"}, "index.handler", id="commonjs"),
        pytest.param({"index.mjs": "export const handler = async (e) => ({ got: e })"}, "index.handler", id="mjs"),
        pytest.param({"index.cjs": "exports.handler = async (e) => ({ got: e })"}, "index.handler", id="cjs"),
        pytest.param(
            {"package.json": '{"type": "module"}', "index.js": "export const handler = async (e) => ({ got: e })"},
            "index.handler",
            id="package-of-modules",
        ),
        pytest.param(
            {"src/deep/app.js": "exports.api = { v1: { get: async (e) => ({ got: e }) } }"},
            "src/deep/app.api.v1.get",
            id="nested-folder-and-members",
        ),
        pytest.param(
            {"node_modules/pkg/index.js": "exports.handler = async (e) => ({ got: e })"}, "pkg.handler", id="a-package"
        ),
        pytest.param(
            {"index.mjs": "const f = await Promise.resolve(async (e) => ({ got: e })); export { f as handler }"},
            "index.handler",
            id="top-level-await",
        ),
    ],
)  # fmt: skip
def test_every_kind_of_module_is_found_and_answers(runtime, files, handler, start):
    function = start(runtime, files, handler)
    for event in ({"a": "ä"}, [1], None, "text", 7):
        answer = function.invoke(event)
        assert (answer.kind, answer.json) == ("response", {"got": event})
        assert answer.headers["content-type"] == "application/json"


@BOTH
def test_nothing_returned_is_null(runtime, start):
    assert start(runtime, {"i.js": "exports.h = async () => {}"}, "i.h").invoke().body == b"null"


@BOTH
def test_context_tells_what_headers_and_environment_say(runtime, start):
    code = """exports.h = async (event, context) => ({
        ...context, left: context.getRemainingTimeInMillis() > 1e9, trace: process.env._X_AMZN_TRACE_ID,
        fd: process.env._LAMBDA_TELEMETRY_LOG_FD === undefined })"""
    function = start(runtime, {"i.js": code}, "i.h", framed=True)
    answer = function.invoke(
        Lambda_Runtime_Client_Context='{"custom": {"k": "v"}}',
        Lambda_Runtime_Cognito_Identity='{"cognitoIdentityId": "id"}',
        Lambda_Runtime_Invocation_Id="attempt-1",
        Lambda_Runtime_Aws_Tenant_Id="blue",
    )
    seen = answer.json
    assert seen.pop("callbackWaitsForEmptyEventLoop", None) == (True if runtime == OLD else None)
    assert seen == {
        "functionVersion": "$LATEST", "functionName": "f", "memoryLimitInMB": "512", "logGroupName": "/aws/lambda/f",
        "logStreamName": "2024/01/01/[$LATEST]0", "clientContext": {"custom": {"k": "v"}},
        "identity": {"cognitoIdentityId": "id"}, "awsRequestId": answer.request_id, "tenantId": "blue",
        "invokedFunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:f", "left": True,
        "trace": "Root=1-0-0;Sampled=0", "fd": True,
    }  # fmt: skip
    assert answer.headers["lambda-runtime-invocation-id"] == "attempt-1"


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        ("callback(null, 'called')", "response", "called"),
        ("setTimeout(() => callback(null, 'late'), 20)", "response", "late"),
        ("callback(null, 'first'); callback(null, 'second')", "response", "first"),
        ("context.succeed('done')", "response", "done"),
        ("context.done(null, 'done')", "response", "done"),
        ("", "response", None),
        ("setTimeout(() => {}, 20)", "response", None),
        ("let slow; setTimeout(() => { slow = 1 }, 50); callback(null, 'waits')", "response", "waits"),
        (
            "context.callbackWaitsForEmptyEventLoop = false; setTimeout(() => {}, 600000); callback(null, 'at once')",
            "response",
            "at once",
        ),
        ("callback(new Error('no'))", "error", ("Error", "no")),
        ("callback('text')", "error", ("string", "text")),
        ("context.fail(new TypeError('bad'))", "error", ("TypeError", "bad")),
        ("context.fail()", "error", ("string", "handled")),
        ("throw new RangeError('thrown')", "error", ("RangeError", "thrown")),
    ],
)
def test_callbacks_work_up_to_version_22(body, kind, expected, start):
    function = start(OLD, {"i.js": f"exports.h = (event, context, callback) => {{ {body} }}"}, "i.h")
    for _ in range(2):
        answer = function.invoke()
        assert answer.kind == kind
        got = (answer.json["errorType"], answer.json["errorMessage"]) if kind == "error" else answer.json
        assert got == expected


def test_a_callback_that_waits_answers_after_everything_is_done(start):
    code = """const seen = []; exports.h = (e, c, callback) => {
        const result = { order: ['callback'] }; setTimeout(() => result.order.push('timer'), 100);
        callback(null, result) }"""
    assert start(OLD, {"i.js": code}, "i.h").invoke().json == {"order": ["callback", "timer"]}


def test_a_promise_that_never_settles_ends_the_invocation(start):
    answer = start(OLD, {"i.js": "exports.h = async () => { await new Promise(() => {}) }"}, "i.h").invoke()
    assert (answer.kind, answer.json["errorType"]) == ("error", "Runtime.NodeJsExit")


def test_callback_handlers_are_refused_from_version_24_on(start):
    function = start(NEW, {"i.js": "exports.h = (event, context, callback) => callback()"}, "i.h")
    assert function.wait() == 129
    answer = function.api.answers.get_nowait()
    assert (answer.kind, answer.json["errorType"]) == ("init-error", "Runtime.CallbackHandlerDeprecated")


def test_version_22_and_below_warn_of_callbacks(start):
    function = start(OLD, {"i.js": "exports.h = (event, context, callback) => callback(null, 1)"}, "i.h")
    function.invoke()
    assert re.search(rf"^{ISO}\tundefined\tWARN\tAWS Lambda plans to remove support for callback", function.finish())


@BOTH
def test_an_error_has_type_message_trace_and_cause(runtime, start):
    code = "class Own extends Error { constructor(m) { super(m); this.name = 'Own'; this.extra = 1 } }\n"
    function = start(runtime, {"i.js": code + "exports.h = async () => { throw new Own('böse\\nzwei') }"}, "i.h")
    answer = function.invoke()
    assert (answer.kind, answer.headers["lambda-runtime-function-error-type"]) == ("error", "Own")
    assert list(answer.json) == ["errorType", "errorMessage", "trace"]
    assert (answer.json["errorType"], answer.json["errorMessage"]) == ("Own", "böse\nzwei")
    assert answer.json["trace"][0] == "Own: böse"
    cause = json.loads(answer.headers["lambda-runtime-function-xray-error-cause"])
    assert cause["exceptions"][0]["type"] == "Own"
    assert any(frame["path"].endswith("task/i.js") for frame in cause["exceptions"][0]["stack"])
    (line,) = function.finish().splitlines()
    head, _, body = line.partition("\t{")
    assert re.fullmatch(rf"{ISO}\t{answer.request_id}\tERROR\tInvoke Error ", head)
    logged = json.loads("{" + body)
    assert (logged["errorType"], logged["extra"], logged["stack"][0]) == ("Own", 1, "Own: böse")


@BOTH
@pytest.mark.parametrize(
    ("thrown", "error_type", "message"),
    [
        ("'text'", "string", "text"), ("42", "number", "42"), ("undefined", "handled", None),
        ("{}", "object", "[object Object]"),
    ],
)  # fmt: skip
def test_anything_may_be_thrown(runtime, thrown, error_type, message, start):
    function = start(runtime, {"i.js": f"exports.h = async () => {{ throw {thrown} }}"}, "i.h")
    answer = function.invoke()
    assert answer.kind == "error"
    if thrown == "undefined" and runtime == OLD:
        error_type, message = "string", "handled"
    assert answer.json["errorType"] == error_type
    if message is not None:
        assert answer.json["errorMessage"] == message
    assert function.invoke().kind == "error"


@BOTH
@pytest.mark.parametrize(
    ("files", "handler", "error_type", "message"),
    [
        ({"i.js": ""}, "i", "Runtime.MalformedHandlerName", "Bad handler"),
        ({"i.js": ""}, "../i.h", "Runtime.MalformedHandlerName",
         "'../i.h' is not a valid handler name. Use absolute paths when specifying root directories in handler names."),
        ({"i.js": ""}, "i.h", "Runtime.HandlerNotFound", "i.h is undefined or not exported"),
        ({"i.js": "exports.h = 1"}, "i.h", "Runtime.HandlerNotFound", "i.h is not a function"),
        ({"x.js": ""}, "i.h", "Runtime.ImportModuleError", "Error: Cannot find module 'i'\nRequire stack:\n- "),
        ({"i.js": "require('absent')"}, "i.h", "Runtime.ImportModuleError", "Error: Cannot find module 'absent'"),
        ({"i.js": "exports.h = ="}, "i.h", "Runtime.UserCodeSyntaxError", "SyntaxError: Unexpected token '='"),
        ({"i.js": "throw new TypeError('at load')"}, "i.h", "TypeError", "at load"),
        ({"i.mjs": "throw new TypeError('at load')"}, "i.h", "TypeError", "at load"),
    ],
)  # fmt: skip
def test_a_function_that_does_not_load_is_an_init_error(runtime, files, handler, error_type, message, start):
    function = start(runtime, files, handler)
    assert function.wait() == 129
    answer = function.api.answers.get_nowait()
    assert (answer.kind, answer.json["errorType"]) == ("init-error", error_type)
    assert answer.json["errorMessage"].startswith(message)
    assert answer.headers["lambda-runtime-function-error-type"] == error_type
    assert re.search(rf"^{ISO}\tundefined\tERROR\tUncaught Exception \t{{", function.finish(), re.MULTILINE)


@BOTH
@pytest.mark.parametrize(
    ("body", "code", "error_type", "message", "words"),
    [
        ("setImmediate(() => { throw new Error('later') })", 129, "Error", "later", "Uncaught Exception"),
        ("Promise.reject(new Error('lost'))", 128, "Runtime.UnhandledPromiseRejection", "Error: lost",
         "Unhandled Promise Rejection"),
    ],
)  # fmt: skip
def test_faults_outside_the_handler_end_the_process(runtime, body, code, error_type, message, words, start):
    function = start(runtime, {"i.js": f"exports.h = () => {{ {body}; return new Promise(() => {{}}) }}"}, "i.h")
    answer = function.invoke()
    assert function.wait() == code
    assert (answer.kind, answer.json["errorType"], answer.json["errorMessage"]) == ("error", error_type, message)
    assert re.search(rf"^{ISO}\t{answer.request_id}\tERROR\t{words} \t{{", function.finish(), re.MULTILINE)


@BOTH
def test_what_cannot_be_written_as_json_is_an_error(runtime, start):
    function = start(runtime, {"i.js": "exports.h = async () => { const o = {}; o.o = o; return o }"}, "i.h")
    answer = function.invoke()
    assert (answer.kind, answer.json["errorMessage"]) == ("error", "Unable to stringify response body")
    assert answer.json["errorType"] == ("Error" if runtime == OLD else "Runtime.JSONStringifyError")


LOGGING = """exports.h = async () => {
    console.log('one %s', 1, { a: 1 }); console.debug('de\\nbug'); console.warn(new Error('shown'));
    console.log({ deep: [1] })
}"""


@BOTH
def test_text_lines_carry_time_id_and_level(runtime, start):
    function = start(runtime, {"i.js": LOGGING}, "i.h")
    request_id = function.invoke().request_id
    lines = function.finish().split("\n")
    assert re.fullmatch(rf"{ISO}\t{request_id}\tINFO\tone 1 {{ a: 1 }}", lines[0])
    assert re.fullmatch(rf"{ISO}\t{request_id}\tDEBUG\tde\rbug", lines[1])
    assert re.match(rf"{ISO}\t{request_id}\tWARN\tError: shown\r    at ", lines[2])


@BOTH
def test_framed_messages_keep_their_lines(runtime, start):
    function = start(runtime, {"i.js": LOGGING}, "i.h", framed=True)
    function.invoke()
    assert function.finish() == ""
    first, second, third, _ = function.messages
    assert (first[0], second[0], third[0]) == (0xA55A000F, 0xA55A000B, 0xA55A0013)
    assert first[1].endswith("\tINFO\tone 1 { a: 1 }\n")
    assert second[1].endswith("\tDEBUG\tde\nbug\n")


@BOTH
def test_json_lines_obey_the_level(runtime, start):
    environ = {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "INFO"}
    function = start(runtime, {"i.js": LOGGING}, "i.h", environ, framed=True)
    request_id = function.invoke(Lambda_Runtime_Aws_Tenant_Id="blue").request_id
    function.finish()
    kinds = [kind for kind, _ in function.messages]
    one, warned, deep = [json.loads(text) for _, text in function.messages]
    assert kinds == [0xA55A000E, 0xA55A0012, 0xA55A000E]
    assert list(one) == ["timestamp", "level", "requestId", "tenantId", "message"]
    assert (one["level"], one["requestId"], one["message"]) == ("INFO", request_id, "one 1 { a: 1 }")
    assert (warned["message"]["errorType"], warned["message"]["errorMessage"]) == ("Error", "shown")
    assert deep["message"] == {"deep": [1]}


@BOTH
def test_a_streaming_handler_sends_chunks_as_it_writes(runtime, start):
    code = """exports.h = awslambda.streamifyResponse(async (event, stream, context) => {
        stream.setContentType('text/plain'); stream.write('one ');
        await new Promise((go) => setTimeout(go, 30)); stream.write(Buffer.from('two ')); stream.write({ three: 3 });
        stream.end() })"""
    function = start(runtime, {"i.js": code}, "i.h")
    for _ in range(2):
        answer = function.invoke()
        assert (answer.kind, answer.body) == ("response", b'one two {"three":3}')
        assert answer.headers["lambda-runtime-function-response-mode"] == "streaming"
        assert answer.headers["content-type"] == "text/plain"
        assert len(answer.chunks) >= 2
        assert answer.trailers == {}


@BOTH
def test_an_http_stream_begins_with_its_prelude(runtime, start):
    code = """import { pipeline } from 'node:stream/promises'; import { Readable } from 'node:stream';
    export const h = awslambda.streamifyResponse(async (event, stream) => {
        const out = awslambda.HttpResponseStream.from(stream, { statusCode: 201, headers: { a: 'b' } });
        await pipeline(Readable.from(['x'.repeat(100000), 'y']), out) })"""
    answer = start(runtime, {"i.mjs": code}, "i.h").invoke()
    prelude, _, body = answer.body.partition(bytes(8))
    assert json.loads(prelude) == {"statusCode": 201, "headers": {"a": "b"}}
    assert body == b"x" * 100_000 + b"y"
    assert answer.headers["content-type"] == "application/vnd.awslambda.http-integration-response"


@BOTH
@pytest.mark.parametrize("written", ["", "stream.write('part');"])
def test_an_error_in_a_streaming_handler_is_in_the_trailers(runtime, written, start):
    code = f"exports.h = awslambda.streamifyResponse(async (e, stream) => {{ {written} throw new RangeError('mid') }})"
    function = start(runtime, {"i.js": code}, "i.h")
    for _ in range(2):
        answer = function.invoke()
        assert (answer.kind, answer.body) == ("response", b"part" if written else b"")
        assert answer.trailers["lambda-runtime-function-error-type"] == "RangeError"
        body = json.loads(base64.b64decode(answer.trailers["lambda-runtime-function-error-body"]))
        assert (body["errorType"], body["errorMessage"]) == ("RangeError", "mid")


@BOTH
def test_a_wrapper_script_gets_the_command_line(runtime, start, tmp_path):
    wrapper = tmp_path / "wrapper"
    wrapper.write_text('#!/bin/sh\nexport WRAPPED="$#"\nexec "$@"\n')
    wrapper.chmod(0o755)
    code = {"i.js": "exports.h = async () => [process.env.WRAPPED, process.execArgv]"}
    count, flags = start(runtime, code, "i.h", {"AWS_LAMBDA_EXEC_WRAPPER": str(wrapper)}).invoke().json
    assert count == "4"
    assert flags == ["--max-old-space-size=460", "--max-semi-space-size=25"]


def test_a_wrapper_that_is_missing_ends_with_127(start):
    # Recorded from AWS: test_lambda_runtime_wrapper_not_found.
    assert start(OLD, {"i.js": ""}, "i.h", {"AWS_LAMBDA_EXEC_WRAPPER": "/absent"}).wait() == 127


@BOTH
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("i.js", "const { S3Client } = require('@aws-sdk/client-s3'); exports.h = async () => typeof S3Client"),
        ("i.mjs", "import { S3Client } from '@aws-sdk/client-s3'; export const h = async () => typeof S3Client"),
    ],
)
def test_the_sdk_is_there_for_every_kind_of_module(runtime, name, code, start):
    assert start(runtime, {name: code}, "i.h").invoke().json == "function"


def test_a_package_of_the_function_wins_over_the_runtimes_own(start):
    files = {
        "node_modules/@aws-sdk/client-s3/package.json": '{"type": "module", "main": "i.js"}',
        "node_modules/@aws-sdk/client-s3/i.js": "export const S3Client = 'mine'",
        "i.mjs": "import { S3Client } from '@aws-sdk/client-s3'; export const h = async () => S3Client",
    }
    assert start(OLD, files, "i.h").invoke().json == "mine"

"""Node.js functions: module forms, ways to answer, errors, log lines."""

import json
import re

import pytest

from . import aws

INSTANT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
ESM = {"index.mjs": "export const handler = async (event) => ({ form: 'esm', got: event });\n"}
COMMON = {"index.js": "exports.handler = async (event) => ({ form: 'cjs', got: event });\n"}
CALLBACK = {"index.js": "exports.handler = (event, context, done) => done(null, { form: 'callback', got: event });\n"}
PACKAGE = {
    "package.json": '{"type": "module"}',
    "index.js": "export async function handler(event) { return { form: 'package', got: event }; }\n",
}


@pytest.fixture
def deploy_node(deploy):
    def run(files, **members):
        return deploy(aws.packed(files), runtime=aws.NODE, handler="index.handler", **members)

    return run


@pytest.mark.parametrize(
    ("files", "form"),
    [
        pytest.param(ESM, "esm", id="esm"),
        pytest.param(COMMON, "cjs", id="cjs"),
        pytest.param(CALLBACK, "callback", id="callback"),
        pytest.param(PACKAGE, "package", id="module-by-package.json"),
    ],
)
def test_every_form_of_handler_answers(files, form, functions, deploy_node):
    name = deploy_node(files)
    for n in (1, 2):
        answer = aws.invoke(functions, name, {"n": n})
        assert (answer.error, answer.payload) == (None, {"form": form, "got": {"n": n}})


def test_an_error_thrown_is_the_functions_own(functions, deploy_node):
    name = deploy_node({"index.mjs": "export const handler = async () => { throw new TypeError('no such thing'); };\n"})
    answer = aws.invoke(functions, name)
    assert answer.error == "Unhandled"
    assert (answer.payload["errorType"], answer.payload["errorMessage"]) == ("TypeError", "no such thing")
    assert re.search(rf"{INSTANT}\t{answer.request_id}\tERROR\tInvoke Error \t", answer.tail)


def test_an_error_nobody_caught_ends_the_environment(functions, deploy_node):
    name = deploy_node(
        {
            "index.js": "exports.handler = (event, context, done) => {"
            " if (event.fail) setImmediate(() => { throw new RangeError('lost'); }); else done(null, 'fine'); };\n"
        }
    )
    failed = aws.invoke(functions, name, {"fail": True})
    assert (failed.error, failed.payload["errorType"]) == ("Unhandled", "RangeError")
    after = aws.invoke(functions, name, {})
    assert (after.error, after.payload) == (None, "fine")


def test_text_lines_of_the_console_have_time_id_and_level(functions, deploy_node):
    name = deploy_node({"index.mjs": "export const handler = async () => { console.warn('a\\nb', { c: 1 }); };\n"})
    answer = aws.invoke(functions, name)
    assert re.search(rf"^{INSTANT}\t{answer.request_id}\tWARN\ta\nb {{ c: 1 }}$", answer.tail, re.MULTILINE)


def test_json_lines_of_the_console_are_objects_and_keep_their_level(functions, deploy_node, logs):
    source = "export const handler = async () => { console.debug('quiet'); console.error('loud', { c: 1 }); };\n"
    name = deploy_node({"index.mjs": source}, LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "WARN"})
    answer = aws.invoke(functions, name)
    events = logs.filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"]
    lines = [json.loads(event["message"]) for event in events]
    spoken = [line for line in lines if "level" in line]
    assert [(line["level"], line["requestId"]) for line in spoken] == [("ERROR", answer.request_id)]
    assert "loud" in spoken[0]["message"]
    reports = [line["record"] for line in lines if line.get("type") == "platform.report"]
    assert [report["requestId"] for report in reports] == [answer.request_id]


def test_the_sdk_of_aws_is_there(functions, deploy_node):
    source = "import { S3Client } from '@aws-sdk/client-s3';\nexport const handler = async () => typeof S3Client;\n"
    assert aws.invoke(functions, deploy_node({"index.mjs": source})).payload == "function"

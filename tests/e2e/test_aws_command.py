"""The main flow as the ``aws`` command sees it."""

import base64
import json
import subprocess
import urllib.request

import pytest

from . import aws

HANDLER = "def handler(event, context):\n    print('from the command')\n    return {'doubled': event['n'] * 2}\n"


@pytest.fixture
def command(server):
    def run(*arguments, fails=False):
        done = subprocess.run(
            ["aws", *arguments, "--output", "json"],
            env=aws.environ(server.endpoint),
            capture_output=True,
            text=True,
            check=False,
        )
        assert bool(done.returncode) == fails, done.stderr
        if fails:
            return done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    return run


def test_the_aws_command_does_the_main_flow(command, tmp_path):
    name, package, out = aws.new_name("cli"), tmp_path / "code.zip", tmp_path / "out.json"
    package.write_bytes(aws.packed({"app.py": HANDLER}))
    create = ["lambda", "create-function", "--function-name", name, "--runtime", aws.PYTHON, "--role", aws.ROLE]
    created = command(*create, "--handler", "app.handler", "--zip-file", f"fileb://{package}", "--tags", "a=b")
    assert created["State"] == "Pending"
    command("lambda", "wait", "function-active-v2", "--function-name", name)

    call = [
        "lambda",
        "invoke",
        "--function-name",
        name,
        "--log-type",
        "Tail",
    ]
    for kind in ("cold", "warm"):
        answer = command(*call, "--payload", '{"n": 21}', str(out))
        assert json.loads(out.read_text()) == {"doubled": 42}
        tail = base64.b64decode(answer["LogResult"]).decode()
        assert ("Init Duration" in tail) == (kind == "cold")
        assert "from the command" in tail

    package.write_bytes(aws.packed({"app.py": HANDLER.replace("* 2", "* 3")}))
    command("lambda", "update-function-code", "--function-name", name, "--zip-file", f"fileb://{package}")
    command("lambda", "wait", "function-updated-v2", "--function-name", name)
    command("lambda", "update-function-configuration", "--function-name", name, "--timeout", "7")
    command("lambda", "wait", "function-updated-v2", "--function-name", name)
    command(*call, "--payload", '{"n": 21}', str(out))
    assert json.loads(out.read_text()) == {"doubled": 63}

    found = command("lambda", "get-function", "--function-name", name)
    assert found["Configuration"]["Timeout"] == 7
    assert found["Tags"] == {"a": "b"}
    with urllib.request.urlopen(found["Code"]["Location"], timeout=10) as response:
        assert response.read() == package.read_bytes()
    assert name in [each["FunctionName"] for each in command("lambda", "list-functions")["Functions"]]
    events = command(
        "logs", "filter-log-events", "--log-group-name", f"/aws/lambda/{name}", "--filter-pattern", "command"
    )
    assert len(events["events"]) == 3
    command("lambda", "delete-function", "--function-name", name)
    refused = command("lambda", "get-function", "--function-name", name, fails=True)
    assert f"Function not found: {created['FunctionArn']}" in refused

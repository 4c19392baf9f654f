"""A function that attacks the Runtime API harms itself only: its caller gets AWS's error, all others work on."""

import json
import re
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

pytestmark = [pytest.mark.rounds, pytest.mark.timeout(140)]

TIMEOUT_S = 3
# The words an attack is made of: a connection on descriptor 3, an event's id in $id, answers' first lines in $seen.
KIT = r"""#!/bin/bash
host=${AWS_LAMBDA_RUNTIME_API%:*} port=${AWS_LAMBDA_RUNTIME_API#*:} api=/2018-06-01/runtime seen=""
connect() { exec 3<>"/dev/tcp/$host/$port"; }
read_answer() { # first line to $seen, headers to $head, body to $body
  local line length=0 first=""
  head="" body=""
  while IFS= read -r -t 5 line <&3; do
    line=${line%$'\r'}
    [ -n "$line" ] || break
    [ -n "$first" ] || { first=$line; seen+="${line:9:3} "; }
    head+=$line$'\n'
    case ${line,,} in content-length:*) length=${line#*:} ;; esac
  done
  [ "$((length))" -eq 0 ] || IFS= read -r -t 5 -N "$((length))" body <&3
}
call() { # METHOD PATH BODY [HEADER]
  printf '%s %s HTTP/1.1\r\nHost: x\r\n%bContent-Length: %s\r\n\r\n%s' "$1" "$api/$2" "${4:-}" "${#3}" "$3" >&3
  read_answer
}
next() { call GET invocation/next ""; id=$(sed -n 's/^lambda-runtime-aws-request-id: *//Ip' <<<"$head"); }
begin() { printf 'POST %s HTTP/1.1\r\nHost: x\r\n%b\r\n' "$api/invocation/$id/response" "$1\r\n" >&3; } # HEADER
answer() { call POST "invocation/$id/response" "{\"seen\": \"$seen\"}"; }
connect
"""
EXIT, LATE = "Runtime.ExitError", "Sandbox.Timedout"
# name → (script after KIT, the error types AWS gives for it, or the statuses that the runtime saw before it answered)
ATTACKS = {
    "wrong-ids": (
        "next; call POST invocation/no-such-id/response 1; call POST invocation//response 1; answer; next",
        "200 400 400 ",
    ),
    "doubled-answers": (
        "next; answer; call POST invocation/$id/response 2; call POST invocation/$id/error 3; next; answer; next",
        "200 ",
    ),
    "answers-before-next": (
        "call POST invocation/x/response 1; call PUT invocation/next 1; next; answer; next",
        "400 405 200 ",
    ),
    "pipelined": (
        r"printf 'GET %s HTTP/1.1\r\nHost: x\r\n\r\n' $api/invocation/next $api/invocation/next >&3; read_answer;"
        "id=$(sed -n 's/^lambda-runtime-aws-request-id: *//Ip' <<<$head); connect; answer; next",
        "200 ",
    ),
    "init-error-twice": (
        "call POST init/error '['; call POST init/error '{'; exit 1",
        None,
    ),
    "error-type-of-a-megabyte": (
        "next; long=$(printf %900000d 0);"
        "call POST invocation/$id/error '{' \"Lambda-Runtime-Function-Error-Type: $long\\r\\n\"; next",
        None,
    ),
    "huge-header": ("next; printf 'GET /x HTTP/1.1\\r\\nHost: x\\r\\nA: %05000000d\\r\\n\\r\\n' 1 >&3; exit 7", {EXIT}),
    "noise": ("next; head -c 3000000 /dev/urandom >&3; exit 7", {EXIT}),
    "no-noise-at-all": ("sleep 100", {LATE}),
    "endless-body": (
        r"next; begin 'Transfer-Encoding: chunked';"
        r"block=$(printf %065536d 0); while printf '10000\r\n%s\r\n' $block >&3; do :; done; sleep 100",
        {LATE, "Function.ResponseSizeTooLarge", EXIT},
    ),
    "slow-body": (
        r"next; begin 'Content-Length: 900000';"
        "while printf 1 >&3; do sleep 0.05; done",
        {LATE},
    ),
    "many-connections": (
        'next; for n in $(seq 10 600); do eval "exec $n<>/dev/tcp/$host/$port" || break; done; answer; next',
        None,
    ),
    "cut-body": (
        r"next; begin 'Content-Length: 900000'; printf '{' >&3; exit 7",
        {"Runtime.TruncatedResponse"},
    ),
    "broken-chunks": (
        r"next; begin 'Transfer-Encoding: chunked'; printf 'zz\r\n' >&3;"
        "read_answer; connect; answer; next",
        None,
    ),
}


@pytest.fixture(scope="module")
def client(server):
    return boto3.client(
        "lambda",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=60, max_pool_connections=20),
    )


@pytest.fixture(scope="module")
def steady(client, zip_bootstrap, echo_bootstrap):
    deploy(client, "steady", zip_bootstrap(echo_bootstrap))
    return "steady"


def deploy(client, name, package):
    client.create_function(
        FunctionName=name,
        Runtime="provided.al2023",
        Handler="bootstrap",
        Role="arn:aws:iam::000000000000:role/r",
        Code={"ZipFile": package},
        Timeout=TIMEOUT_S,
    )
    client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})


def invoke(client, name):
    answer = client.invoke(FunctionName=name, Payload=b"{}")
    payload = answer["Payload"].read()
    try:
        return answer.get("FunctionError"), json.loads(payload or b"null")
    except ValueError:
        return answer.get("FunctionError"), payload


def memory_peak_mib(process):
    """Return the largest peak of resident memory among the server's own processes."""
    peaks = [0]
    for pid, command in process.processes():
        if "lambent.assembly.server" in command:
            found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
            peaks.append(int(found[1]) // 1024 if found else 0)
    return max(peaks)


def own_processes(process):
    return {
        pid for pid, command in process.processes() if "lambent.assembly.server" in command or "launcher" in command
    }


def test_a_hostile_runtime_harms_only_itself(server, client, steady, zip_bootstrap):
    invoke(client, steady)
    before_mib, before = memory_peak_mib(server), own_processes(server)
    assert before
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: deploy(client, name, zip_bootstrap(KIT + ATTACKS[name][0] + "\n")), ATTACKS))
        outcomes = dict(zip(ATTACKS, pool.map(lambda name: invoke(client, name), ATTACKS), strict=True))
    for name, (error, payload) in outcomes.items():
        expected = ATTACKS[name][1]
        if isinstance(expected, set):
            assert error == "Unhandled", (name, payload)
            assert payload["errorType"] in expected, (name, payload)
        elif expected is not None:
            assert (error, payload) == (None, {"seen": expected}), name
        else:
            assert error is None or payload, (name, payload)
    for _ in range(5):
        assert invoke(client, steady)[0] is None
    assert own_processes(server) == before, "a process of the server's own died"
    assert memory_peak_mib(server) < before_mib + 100
    with urllib.request.urlopen(f"{server.endpoint}/_lambent/health", timeout=10) as answer:
        assert answer.status == 200
    assert '"level": "error"' not in server.log()


def test_what_a_hostile_runtime_was_told_stays_true_when_it_goes_on(client, steady, zip_bootstrap):
    """After an attack the same environment serves the next event, if the runtime asked for it."""
    deploy(
        client,
        "turncoat",
        zip_bootstrap(KIT + "while next; do call POST invocation/x/response 1; answer; seen=''; done\n"),
    )
    assert [invoke(client, "turncoat") for _ in range(3)] == [(None, {"seen": "200 400 "})] * 3

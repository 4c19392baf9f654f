"""Custom runtimes: a bootstrap in bash, and AWS's own runtime client in two versions."""

import pytest

from . import aws

BOOTSTRAP = """#!/bin/bash
set -eu
ask() {  # method path body: one request over bash's own sockets
  exec 3<>"/dev/tcp/${AWS_LAMBDA_RUNTIME_API%:*}/${AWS_LAMBDA_RUNTIME_API#*:}"
  printf '%s /2018-06-01/runtime%s HTTP/1.1\\r\\nHost: runtime\\r\\nConnection: close\\r\\n' "$1" "$2" >&3
  printf 'Content-Length: %s\\r\\n\\r\\n%s' "${#3}" "$3" >&3
  answer=$(cat <&3)
  exec 3>&-
}
while :; do
  ask GET /invocation/next ""
  id=$(printf '%s' "$answer" | tr -d '\\r' | sed -n 's/^[Ll]ambda-[Rr]untime-[Aa]ws-[Rr]equest-[Ii]d: //p')
  event=$(printf '%s' "$answer" | tail -n 1)
  echo "served $id by $_HANDLER"
  ask POST "/invocation/$id/response" "{\\"event\\":$event,\\"region\\":\\"$AWS_REGION\\"}"
done
"""


@pytest.mark.parametrize("runtime", ["provided.al2023", "provided.al2"])
def test_a_bootstrap_in_bash_serves_events(runtime, functions, deploy):
    name = deploy(aws.packed({"bootstrap": BOOTSTRAP}), runtime=runtime, handler="anything.at.all")
    for n in range(3):
        answer = aws.invoke(functions, name, {"n": n})
        assert (answer.error, answer.payload) == (None, {"event": {"n": n}, "region": aws.REGION})
        assert f"served {answer.request_id} by anything.at.all" in answer.tail


def test_a_package_without_bootstrap_is_told_so(functions, deploy):
    answer = aws.invoke(functions, deploy(aws.packed({"readme": ""}), runtime="provided.al2023", handler="x"))
    assert (answer.error, answer.payload["errorType"]) == ("Unhandled", "Runtime.InvalidEntrypoint")


# Recorded as the versions below: the one that python runtimes bring, an old one and the newest that a function packs.
@pytest.mark.parametrize("version", ["3.0.2", "4.2.2"])
def test_a_runtime_client_that_the_function_packs_serves_it(version, functions, deploy, from_pypi):
    folder = from_pypi(f"awslambdaric=={version}")
    source = (
        "import importlib.metadata, awslambdaric\n"
        "def handler(event, context):\n"
        "    if event == 'fail':\n        raise ValueError('as told')\n"
        "    return [awslambdaric.__file__.split('/')[2], importlib.metadata.version('awslambdaric'), event]\n"
    )
    bootstrap = f'#!/bin/sh\nexec /usr/bin/{aws.PYTHON} -m awslambdaric "$_HANDLER"\n'
    name = deploy(
        aws.packed_tree(folder, {"app.py": source, "bootstrap": bootstrap}), runtime="provided.al2023", MemorySize=512
    )
    for n in (1, 2):
        assert aws.invoke(functions, name, n).payload == ["task", version, n]
    failed = aws.invoke(functions, name, "fail")
    assert (failed.error, failed.payload["errorType"]) == ("Unhandled", "ValueError")


def test_python_runtimes_bring_a_runtime_client(functions, deploy):
    name = deploy("import awslambdaric\ndef handler(event, context):\n    return awslambdaric.__file__\n")
    assert aws.invoke(functions, name).payload.startswith("/var/runtime/awslambdaric/")

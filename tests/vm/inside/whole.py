"""A whole Lambent of whoever runs this: cold, warm, frozen, out of memory, stopped. Writes what it saw as JSON."""

import base64
import http.client
import io
import json
import os
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from lambent.testing.process import LambentProcess

ROOT = Path("/sys/fs/cgroup")
WAIT_S = 60.0
LOOK_S = 1.0
# Nothing but sockets: imports take seconds here.
BOOTSTRAP = r"""#!/usr/bin/python3 -IS
import _thread, mmap, os, socket
host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
api = socket.create_connection((host, int(port)))
stream = api.makefile("rb")
answered = count = 0
is_working = False
def work():
    global count
    while is_working:
        count += 1
def call(method, path, body=b""):
    head = f"{method} /2018-06-01/runtime/{path} HTTP/1.1\r\nHost: api\r\nContent-Length: {len(body)}\r\n\r\n"
    api.sendall(head.encode() + body)
    stream.readline()
    headers = {}
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    return headers["lambda-runtime-aws-request-id"] if method == "GET" else "", stream.read(
        int(headers.get("content-length", 0)))
while True:
    request_id, event = call("GET", "invocation/next")
    if event == b'"work"':
        is_working = True
        _thread.start_new_thread(work, ())
    if event == b'"stop"':
        is_working = False
    if event == b'"eat"':
        # In huge pages: a fault costs an emulated machine as much as all else, and 128 MB have 0.07 vCPU.
        held = mmap.mmap(-1, 1200 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        held.madvise(mmap.MADV_HUGEPAGE)
        for at in range(0, 1200 << 20, 1 << 20):
            held[at] = 1
    answered += 1
    call("POST", f"invocation/{request_id}/response", b"[%d, %d]" % (answered, count))
"""


class Caller:
    """Speaks to one server."""

    def __init__(self, endpoint):
        self._address = endpoint.rpartition("/")[2]

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection(self._address, timeout=WAIT_S)
        connection.request(method, f"/2015-03-31/functions{path}", body, headers or {})
        answer = connection.getresponse()
        return answer.headers, json.loads(answer.read())

    def create(self, name, **members):
        package = io.BytesIO()
        with zipfile.ZipFile(package, "w") as archive:
            entry = zipfile.ZipInfo("bootstrap")
            entry.external_attr = 0o100755 << 16
            archive.writestr(entry, BOOTSTRAP)
        code = {"ZipFile": base64.b64encode(package.getvalue()).decode()}
        fixed = {"FunctionName": name, "Runtime": "provided.al2023", "Handler": "x", "Code": code}
        role = "arn:aws:iam::000000000000:role/whole"
        self.request("POST", "", json.dumps({**fixed, "Role": role, **members}))
        until(lambda: self.request("GET", f"/{name}/configuration")[1].get("State") == "Active")

    def invoke(self, name, event):
        headers = {"X-Amz-Log-Type": "Tail"}
        headers, payload = self.request("POST", f"/{name}/invocations", json.dumps(event), headers)
        return payload, base64.b64decode(headers.get("X-Amz-Log-Result", "")).decode()


def until(condition):
    give_up_at = time.monotonic() + WAIT_S
    while not (found := condition()):
        assert time.monotonic() < give_up_at, "it did not happen"
        time.sleep(0.05)
    return found


def groups():
    """The groups of living environments."""
    return {path for path in ROOT.rglob("lambent-*/env-*") if "populated 1" in events(path)}


def events(group):
    """What is so of a group; nothing of one that is gone."""
    try:
        return (group / "cgroup.events").read_text()
    except FileNotFoundError:
        return ""


def cpu_us(path):
    return int((path / "cpu.stat").read_text().split()[1])


def look(server):
    caller, seen = Caller(server.endpoint), {}
    seen["not_enforced"] = [line for line in server.log().splitlines() if "setting_not_enforced" in line]
    caller.create("fn", MemorySize=128, Timeout=50)
    seen["cold"], _ = caller.invoke("fn", "first")
    seen["warm"], _ = caller.invoke("fn", "work")
    (group,) = until(groups)
    seen["group"] = f"/{group.relative_to(ROOT)}"
    seen["limit"] = [(group / name).read_text().strip() for name in ("memory.max", "memory.swap.max", "cpu.max")]
    until(lambda: "frozen 1" in (group / "cgroup.events").read_text())
    before = cpu_us(group)
    time.sleep(LOOK_S)  # time must pass for it to use CPU, had it not been stopped
    seen["cpu_while_frozen_us"] = cpu_us(group) - before
    seen["thawed"], _ = caller.invoke("fn", "stop")
    seen["cpu_afterwards_us"] = cpu_us(group) - before
    seen["eaten"], seen["eaten_tail"] = caller.invoke("fn", "eat")
    seen["after"], _ = caller.invoke("fn", "last")
    # And so it is stopped while it is frozen; where the eaten memory was this machine's last, it has given way already.
    until(lambda: all("frozen 1" in events(each) for each in groups()))
    return seen


def main():
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        os.chmod(folder, 0o755)
        with LambentProcess(Path(folder), settings={"max_cells": 0}) as server:
            seen = look(server)
    seen["left"] = [str(path) for path in ROOT.rglob("lambent-*/env-*")]
    sys.stdout.write(json.dumps(seen) + "\n")


main()

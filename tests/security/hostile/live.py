"""What the attacks need of a live Lambent: clients, packages, functions, one invocation, one raw HTTP exchange."""

import base64
import io
import itertools
import json
import socket
import sys
import urllib.request
import zipfile
from dataclasses import dataclass

import boto3
from botocore.config import Config

PYTHON = f"python3.{sys.version_info[1]}"  # whatever runs the tests runs the functions
ROLE = "arn:aws:iam::000000000000:role/hostile"
# One server has all of these off: no attack that one of them stops is stopped by another.
UNLIMITED = ("cpu_share", "memory_mib", "open_files", "processes", "tmp_mib")
UNFROZEN = {"freeze_grace_ms": 0}
_numbers = itertools.count()

# Runs the attack that its event brings, in the function's own process.
ATTACKER = """
import ctypes, errno, json, os, signal, socket, stat, subprocess, sys, threading, time

libc = ctypes.CDLL(None, use_errno=True)

def attempt(call):
    try:
        return call()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))

def must(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result

def read(path):
    with open(path, "rb") as file:
        return file.read(4096).decode("latin-1")

def in_a_child(call):
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(writer, str(attempt(call)).encode()[:4000])
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        answer = file.read().decode()
    status = os.waitpid(pid, 0)[1]
    return answer or "signal %d" % os.WTERMSIG(status)

def api(text, timeout=5):
    host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
    with socket.create_connection((host, int(port)), timeout) as peer:
        peer.sendall(text if isinstance(text, bytes) else text.replace("\\n", "\\r\\n").encode())
        got = b""
        while b"\\r\\n\\r\\n" not in got:
            part = peer.recv(65536)
            if not part:
                break
            got += part
        return got.decode("latin-1")

def post(path, body=b"1", headers=""):
    head = "POST %s HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n%s\\r\\n"
    return int(api((head % (path, len(body), headers)).encode() + body).split()[1])

def handler(event, context):
    scope = dict(globals(), event=event, context=context)
    exec(event["code"], scope)
    return scope["result"]
"""

NEIGHBOUR = """
import os
def handler(event, context):
    if event["files"]:
        open("/tmp/mine", "a").write("x")
    files = sorted(os.listdir("/tmp")) if event["files"] else None
    return {"sum": event["a"] + event["b"], "files": files, "secret": os.environ["SECRET"]}
"""


def client(service, endpoint, *, key="test", secret="test", **options):
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(**{"retries": {"total_max_attempts": 1}, "read_timeout": 60, **options}),
    )


def packed(files, *, modes=None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            entry = zipfile.ZipInfo(path, (2026, 1, 1, 0, 0, 0))
            entry.external_attr = (modes or {}).get(path, 0o100755 if path == "bootstrap" else 0o100644) << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def create(functions, code, *, handler="app.handler", runtime=PYTHON, name=None, **members) -> str:
    """Create a function of ``code`` (a ZIP, or the text of app.py) and return its name once it is Active."""
    name = name or f"fn-{next(_numbers)}"
    package = code if isinstance(code, bytes) else packed({"app.py": code})
    functions.create_function(
        FunctionName=name, Runtime=runtime, Handler=handler, Role=ROLE, Code={"ZipFile": package}, **members
    )
    waiter = functions.get_waiter("function_active_v2")
    waiter.wait(FunctionName=name, WaiterConfig={"Delay": 0.05, "MaxAttempts": 600})
    return name


@dataclass(frozen=True, slots=True)
class Answer:
    """One invocation as its caller saw it."""

    payload: object
    error: str | None
    tail: str


def invoke(functions, name, event=None) -> Answer:
    got = functions.invoke(FunctionName=name, Payload=json.dumps(event).encode(), LogType="Tail")
    text = got["Payload"].read()
    tail = base64.b64decode(got.get("LogResult", "")).decode(errors="replace")
    return Answer(json.loads(text) if text else None, got.get("FunctionError"), tail)


class Live:
    """A server, its attacker and its neighbour."""

    def __init__(self, server, *, is_isolated=True, has_cells=True) -> None:
        self.server = server
        self.is_isolated = is_isolated
        self.endpoint = server.endpoint
        self.port = int(server.endpoint.rpartition(":")[2])
        self.functions = client("lambda", server.endpoint)
        self.neighbour = create(self.functions, NEIGHBOUR, Environment={"Variables": {"SECRET": "of the neighbour"}})
        # The driver that isolates nothing has neither cells nor a /tmp for each.
        plain = {"Timeout": 20, "MemorySize": 256}
        self.attacker = self._create_born_attacker() if has_cells else create(self.functions, ATTACKER, **plain)
        self.assert_neighbour_is_fine()

    def _create_born_attacker(self) -> str:
        """Return an attacker whose environment was born from a stem cell, as nearly every function's is."""
        for _ in range(20):
            name = create(self.functions, ATTACKER, Timeout=20, MemorySize=256)
            before = self._cells_taken()
            assert self.attack("result = 1", name).payload == 1
            if self._cells_taken() > before:
                return name
            self.functions.delete_function(FunctionName=name)
        raise AssertionError(f"no function is born from a cell:\n{self.server.log()}")

    def _cells_taken(self) -> int:
        with urllib.request.urlopen(f"{self.endpoint}/_lambent/status") as answer:
            return int(json.load(answer)["cells"]["taken"])

    def attack(self, code, name=None, **event) -> Answer:
        return invoke(self.functions, name or self.attacker, {"code": code, **event})

    def assert_neighbour_is_fine(self) -> None:
        answer = invoke(self.functions, self.neighbour, {"a": 2, "b": 3, "files": self.is_isolated})
        assert answer.error is None, answer
        files = ["mine"] if self.is_isolated else None
        assert answer.payload == {"sum": 5, "files": files, "secret": "of the neighbour"}

    def raw(self, text: bytes, *, timeout=10.0) -> bytes:
        """Send ``text`` on a connection of its own, and return all that comes until the server closes or is silent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout) as peer:
            peer.sendall(text)
            got = b""
            try:
                while part := peer.recv(65536):
                    got += part
                    if is_whole(got):
                        break
            except OSError:
                pass
            return got

    def status(self, text: bytes) -> int:
        """Return the status of the answer to ``text``; 0: closed without one."""
        got = self.raw(text)
        return int(got.split()[1]) if got.startswith(b"HTTP/1.1 ") else 0


def is_whole(got: bytes) -> bool:
    """Whether ``got`` holds an answer's head and as much body as it says."""
    head, separator, body = got.partition(b"\r\n\r\n")
    length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(separator) and bool(length) and len(body) >= int(length[0].split(b":")[1])

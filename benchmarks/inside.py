"""A call from function to function through Lambent, over the endpoint inside of the first one's sandbox."""

import base64
import io
import json
import zipfile

from benchmarks.bench import Row, Samples, at_most
from benchmarks.floor import open_floor
from benchmarks.functions import HANDLER, MEMORY_MIB, ROLE, RUNTIME
from benchmarks.load import FUNCTIONS, send_all, signed
from benchmarks.plan import Plan
from benchmarks.subjects import Lambent, open_lambent

# As the load generator calls from outside: one kept connection, a request that is signed once a minute.
BARE_CALLER = """
import os, socket, time
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.session import Session

URL = os.environ["AWS_ENDPOINT_URL"]
PATH = "/2015-03-31/functions/f/invocations"
host, port = URL.removeprefix("http://").split(":")
peer = socket.create_connection((host, int(port)))
peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
credentials = Session().get_credentials()
wire, signed_s = b"", -60.0

def handler(event, context):
    global wire, signed_s
    if time.monotonic() - signed_s >= 60:
        body = b'{"key1": "value1", "key2": "value2"}'
        request = AWSRequest("POST", URL + PATH, data=body, headers={"Host": host + ":" + port})
        SigV4Auth(credentials, "lambda", os.environ["AWS_REGION"]).add_auth(request)
        head = "".join("%s: %s\\r\\n" % pair for pair in request.headers.items())
        wire = ("POST %s HTTP/1.1\\r\\n%sContent-Length: %d\\r\\n\\r\\n" % (PATH, head, len(body))).encode() + body
        signed_s = time.monotonic()
    peer.sendall(wire)
    answer = peer.recv(65536)
    if not answer.startswith(b"HTTP/1.1 200") or not answer.endswith(b"}"):
        raise RuntimeError(answer)
    return event
"""
SDK_CALLER = """
import boto3
client = boto3.client("lambda")

def handler(event, context):
    client.invoke(FunctionName="f", Payload=b'{"key1": "value1"}')["Payload"].read()
    return event
"""


def measure_inside(plan: Plan) -> list[Row]:
    """Goal 15: an invocation with another inside of it, beside L; without a goal, the same with boto3 as the caller."""
    samples = Samples()
    with open_lambent() as lambent, open_floor() as floor:
        lambent.register(["f"])
        register(lambent, "bare", BARE_CALLER)
        register(lambent, "sdk", SDK_CALLER)
        for name in ("f", "bare", "sdk"):
            lambent.wait_for(name)
            lambent.drive(clients=1, count=200, name=name)
        floor.drive(environments=1, count=200)
        for _ in range(plan.rounds):
            samples.add("L", floor.drive(environments=1, count=plan.calls).latencies_s)
            for name in ("f", "bare", "sdk"):
                samples.add(name, lambent.drive(clients=1, count=plan.calls, name=name).latencies_s)
    floor_ms, bare, sdk = (samples.percentile(name, 50) for name in ("L", "bare", "sdk"))
    return [
        at_most(15, "function → Lambent → function, whole p50, beside L", bare, floor_ms, 2.3, "ms"),
        at_most(0, "the same beside a function that calls nobody", bare, samples.percentile("f", 50), None, "ms"),
        at_most(0, "the same, called by boto3, beside L", sdk, floor_ms, None, "ms"),
    ]


def register(lambent: Lambent, name: str, source: str) -> None:
    """Create a function of ``source``."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        entry = zipfile.ZipInfo("app.py", (2026, 1, 1, 0, 0, 0))
        entry.external_attr = 0o100644 << 16
        archive.writestr(entry, source)
    body = {
        "FunctionName": name,
        "Runtime": RUNTIME,
        "Role": ROLE,
        "Handler": HANDLER,
        "Code": {"ZipFile": base64.b64encode(packed.getvalue()).decode()},
        "MemorySize": MEMORY_MIB,
        "Timeout": 20,
    }
    request = signed(lambent.host, lambent.port, FUNCTIONS, json.dumps(body).encode())
    send_all(lambent.host, lambent.port, [request], clients=1)

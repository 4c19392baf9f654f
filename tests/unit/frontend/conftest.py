"""A gateway on a real port with a small command set that records, and boto3 clients for it."""

import asyncio
import contextlib
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime

import boto3
import pytest
from botocore.config import Config

from lambent.access.credentials import Credential
from lambent.access.sigv4 import SignatureVerifier
from lambent.frontend.answers import Answers
from lambent.frontend.calls import Calls
from lambent.frontend.gateway import Gateway
from lambent.frontend.invoke import InvokeDoor
from lambent.frontend.seams import CodeDownload, Service
from lambent.http.limits import HttpLimits
from lambent.http.server import HttpServer
from lambent.model.errors import HostError, NotImplementedYet, ResourceNotFound
from lambent.model.invocations import InvocationResult
from lambent.wire.service import ServiceCodec

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
KEY = "AKIAIOSFODNN7EXAMPLE"
ACCOUNT = "123456789012"
LAMBDA, LOGS = ServiceCodec.load("lambda"), ServiceCodec.load("logs")


class RealClock:
    """The wall clock: boto3 signs with it."""

    def now(self):
        return datetime.now(UTC)

    def mono_s(self):
        return asyncio.get_running_loop().time()

    async def sleep_s(self, seconds):
        await asyncio.sleep(seconds)


class Credentials:
    def find_credential(self, access_key):
        if access_key != KEY:
            return None
        return Credential(access_key=KEY, secret=SECRET, account_id=ACCOUNT, arn=f"arn:aws:iam::{ACCOUNT}:user/me")


@dataclass
class Recorder:
    """Commands and an invoker that keep what they got, and answer as a test says."""

    calls: list = field(default_factory=list)
    contexts: list = field(default_factory=list)
    members: list = field(default_factory=list)
    result: InvocationResult = field(
        default_factory=lambda: InvocationResult(payload=b'"ok"', executed_version="$LATEST", log_tail=b"START\n")
    )
    failure: Exception | None = None
    gate: asyncio.Event | None = None
    called: asyncio.Event = field(default_factory=asyncio.Event)
    ended: int = 0
    refused_origin: str | None = None
    trouble: str | None = None
    zips: dict = field(default_factory=dict)

    async def invoke(self, call):
        self.calls.append(call)
        self.called.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.ended += 1
        return self.result

    async def accept_event(self, call):
        raise NotImplementedYet("Invoke with InvocationType Event")

    async def get_function(self, context, members):
        self.contexts.append(context)
        self.members.append(members)
        if members["FunctionName"] == "missing":
            raise ResourceNotFound("Function not found: missing")
        if members["FunctionName"] == "host":
            raise HostError("the disk is full of secrets")
        if members["FunctionName"] == "defect":
            raise ZeroDivisionError("secret")
        return {"Configuration": {"FunctionName": members["FunctionName"], "MemorySize": 128}}

    async def create_function(self, context, members):
        self.members.append(members)
        return {"FunctionName": members["FunctionName"]}

    async def put_log_events(self, context, members):
        self.members.append(members)
        return {"nextSequenceToken": "1"}

    async def open_code(self, token, query):
        data = self.zips.get((token, query))
        return None if data is None else CodeDownload(len(data), _pieces(data))


async def _pieces(data):
    for start in range(0, len(data), 100_000):
        yield data[start : start + 100_000]


class Door:
    """The served gateway."""

    def __init__(self, recorder, address, server, calls):
        self.recorder, self.address, self.server, self.calls = recorder, address, server, calls
        self.gateway = server.application
        self.url = f"http://{address[0]}:{address[1]}"

    def client(self, service="lambda", *, secret=SECRET, key=KEY, **options):
        config = Config(retries={"total_max_attempts": 1}, **options)
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="eu-west-1",
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            config=config,
        )

    async def raw(self, data, *, count=1):
        """Return the answers to bytes on one connection, as one text."""
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(data)
        writer.write_eof()
        try:
            async with asyncio.timeout(10):
                return (await reader.read(-1)).decode("latin-1")
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def open_door(recorder, *, mode="verify", inside=False):
    clock = RealClock()
    answers, calls = Answers(clock), Calls()
    verify = SignatureVerifier(mode, Credentials(), clock).verify
    services = {
        "lambda": Service(LAMBDA, {"GetFunction": recorder.get_function, "CreateFunction": recorder.create_function}),
        "logs": Service(LOGS, {"PutLogEvents": recorder.put_log_events}),
    }
    invoke_door = InvokeDoor(
        recorder, LAMBDA, verify=verify, clock=clock, answers=answers, accept_event=recorder.accept_event
    )
    gateway = Gateway(
        services,
        invoke_door,
        decide_origin=lambda head: recorder.refused_origin,
        verify=verify,
        answers=answers,
        calls=calls,
        open_code=recorder.open_code,
        find_trouble=lambda: recorder.trouble,
        inside=inside,
    )
    server = HttpServer(gateway, HttpLimits(), clock_mono=clock.mono_s)
    sock = socket.create_server(("127.0.0.1", 0))
    address = sock.getsockname()
    await server.serve(sock)
    try:
        yield Door(recorder, address, server, calls)
    finally:
        await server.close(1)
        await calls.close(1)


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def door(recorder):
    """Return a function that opens the gateway: ``async with door() as it:``."""
    return lambda **options: open_door(recorder, **options)

"""Asynchronous invocation over a memory store, a clock that stands still, and a road that answers as told."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from lambent.async_invoke.invocation import AsyncInvocation, Peers
from lambent.async_invoke.shares import ShareLimits
from lambent.model.documents import CodeSpec, FunctionSpec, render_function_spec
from lambent.model.errors import NeighbourRefusal
from lambent.model.event_documents import EventInvokeConfig, render_event_config
from lambent.model.functions import LogSettings
from lambent.model.ids import RequestId, Scope
from lambent.model.invocations import InvocationResult, InvokeCall, Target
from lambent.model.names import function_not_found
from lambent.store.memory import MemoryStore
from lambent.testing.clock import FakeClock

SCOPE = Scope("111111111111", "us-east-1")
ARN = "arn:aws:lambda:us-east-1:111111111111:function:fn"
FAILURE = InvocationResult(
    payload=b'{"errorMessage":"boom","errorType":"E"}', function_error="Unhandled", executed_version="$LATEST"
)
SUCCESS = InvocationResult(payload=b'{"ok":true}', executed_version="$LATEST")


class Road:
    """Answers each call with the next of ``answers``, the last for ever; raises exceptions, waits for an Event."""

    def __init__(self):
        self.answers, self.calls, self.versions, self.running = [SUCCESS], [], {}, 0
        self.most = 0

    def resolve(self, target):
        if target.name not in self.versions:
            raise function_not_found(target)
        return self.versions[target.name]

    async def invoke(self, call):
        self.resolve(call.target)
        if call.is_dry_run:
            return replace(SUCCESS, payload=b"")
        self.calls.append(call)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(answer):
            answer = answer(call)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if isinstance(answer, asyncio.Event):
                await answer.wait()
                answer = SUCCESS
        finally:
            self.running -= 1
        if isinstance(answer, BaseException):
            raise answer
        return answer


class Neighbours:
    """Remembers what it was asked."""

    def __init__(self):
        self.calls, self.refusals = [], []

    async def call(self, service, operation, scope, parameters):
        self.calls.append((service, operation, scope, dict(parameters)))
        if self.refusals:
            refusal = self.refusals.pop(0)
            if isinstance(refusal, NeighbourRefusal):
                raise refusal
        return {"QueueUrl": "http://sqs/1/q"} if operation == "get_queue_url" else {}


class Metrics:
    """Counts by metric."""

    def __init__(self):
        self.values = []

    def record_value(self, metric, value, *, scope, function_name, qualifier, at):
        self.values.append((metric, value))

    def of(self, metric):
        return [value for name, value in self.values if name == metric]


def make_call(payload=b'{"n":1}', name="fn", n=0, qualifier=None, **changes):
    values = {
        "request_id": RequestId(f"00000000-0000-4000-8000-{n:012}"),
        "target": Target(SCOPE, name, qualifier),
        "payload": payload,
        "caller_arn": "arn:aws:iam::111111111111:user/u",
        "trace_header": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0",
    }
    return InvokeCall(**(values | changes))


class Scene:
    """Everything of one test."""

    def __init__(self, store=None):
        self.clock = FakeClock(datetime(2026, 11, 23, 12, 0, tzinfo=UTC))
        self.store = store or MemoryStore(self.clock)
        self.road, self.neighbours, self.metrics = Road(), Neighbours(), Metrics()
        self.add_function("fn")
        self.limits = ShareLimits()
        self.invocation = self.make()

    def make(self):
        peers = Peers(
            invoker=self.road, functions=self.road, neighbours=self.neighbours, metrics=self.metrics,
            clock=self.clock, check_payload=lambda payload: payload,
        )  # fmt: skip
        return AsyncInvocation(self.store.queue, self.store.documents, peers, self.limits)

    def add_function(self, name, reserved=None):
        self.road.versions[name] = SimpleNamespace(reserved_concurrency=reserved)

    async def configure(self, qualifier="$LATEST", **values):
        config = EventInvokeConfig(
            scope=SCOPE, name="fn", qualifier=qualifier, first_generation=1, last_modified_at=self.clock.now(), **values
        )
        await self.store.documents.put(config.key, render_event_config(config))
        await self.store_function()

    async def store_function(self, **changes):
        spec = FunctionSpec(
            scope=SCOPE, name="fn", generation=1, revision_id="r",
            last_modified_at=self.clock.now(), role="r", log=LogSettings(group="g"),
            code=CodeSpec(digest="a" * 64, sha256_base64="x", zip_bytes=1, unzipped_bytes=1),
            **({"first_generation": 1} | changes),
        )  # fmt: skip
        await self.store.documents.put(spec.key, render_function_spec(spec))

    async def accept(self, *args, **changes):
        await self.invocation.acceptance.accept(make_call(*args, **changes))

    @asynccontextmanager
    async def running(self, drain_s=0):
        async with self.invocation.running(drain_s):
            yield

    async def advance(self, seconds):
        await self.clock.advance_s(seconds)
        await settle()

    @property
    def tries(self):
        return len(self.road.calls)


async def settle():
    for _ in range(60):
        await asyncio.sleep(0)


@pytest.fixture
async def scene():
    return Scene()

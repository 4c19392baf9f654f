"""A process with asynchronous invocation over a store on disk, in which time runs fast; it may die at a write.

Arguments: folder, how many events to accept, the fatal write (0: none), whether it takes effect. Writes a line a
fact into ``facts``: ``accepted ID``, ``ran ID``, ``told ID CONDITION``.
"""

import asyncio
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

from lambent.async_invoke.invocation import AsyncInvocation, Peers
from lambent.async_invoke.shares import ShareLimits
from lambent.model.documents import CodeSpec, FunctionSpec, render_function_spec
from lambent.model.event_documents import EventInvokeConfig, render_event_config
from lambent.model.functions import LogSettings
from lambent.model.ids import Digest, RequestId, RevisionId, Scope, new_uuid
from lambent.model.invocations import InvocationResult, InvokeCall, Target
from lambent.store.sqlite.engine import open_sqlite_store
from lambent.testing.dying_queue import DyingQueue

SCOPE = Scope("111111111111", "us-east-1")
SPEED = 60
FAILURE = InvocationResult(payload=b'{"errorMessage":"boom"}', function_error="Unhandled", executed_version="$LATEST")
SUCCESS = InvocationResult(payload=b"null", executed_version="$LATEST")


class FastClock:
    """The host's clock, sixty times as fast; the same for every process."""

    def now(self):
        return datetime.fromtimestamp(1_800_000_000 + (time.time() - 1_700_000_000) * SPEED, UTC)

    def mono_s(self):
        return time.monotonic() * SPEED

    async def sleep_s(self, seconds):
        await asyncio.sleep(seconds / SPEED)


class Facts:
    """A file of lines, each written whole."""

    def __init__(self, folder):
        self._file = os.open(folder / "facts", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, *words):
        os.write(self._file, (" ".join(words) + "\n").encode())


class Road:
    """A function that fails where the event says so."""

    def __init__(self, facts):
        self._facts = facts

    def resolve(self, target):
        return SimpleNamespace(reserved_concurrency=None)

    async def invoke(self, call):
        if not call.is_dry_run:
            self._facts.write("ran", call.request_id)
        return FAILURE if call.payload == b'"fail"' else SUCCESS


class Neighbours:
    """Writes down what destinations are told."""

    def __init__(self, facts):
        self._facts = facts

    async def call(self, service, operation, scope, parameters):
        if operation == "put_object":
            told = json.loads(parameters["Body"])["requestContext"]
            self._facts.write("told", told["requestId"], told["condition"])
        return {}


def ignore(*args, **values):
    """Take a measurement."""


async def main(folder, count, fatal_write, is_done):
    clock, facts = FastClock(), Facts(folder)
    async with open_sqlite_store(folder / "state", clock=clock, stream_limit_bytes=1 << 20) as store:
        config = EventInvokeConfig(
            scope=SCOPE, name="fn", qualifier="$LATEST", first_generation=1, max_retries=1,
            on_failure="arn:aws:s3:::bucket", on_success="", last_modified_at=clock.now(),
        )  # fmt: skip
        await store.documents.put(config.key, render_event_config(config))
        spec = FunctionSpec(
            scope=SCOPE, name="fn", generation=1, first_generation=1, revision_id=RevisionId("r"),
            last_modified_at=clock.now(), role="r", log=LogSettings(group="g"),
            code=CodeSpec(digest=Digest("a" * 64), sha256_base64="x", zip_bytes=1, unzipped_bytes=1),
        )  # fmt: skip
        await store.documents.put(spec.key, render_function_spec(spec))
        queue = DyingQueue(store.queue, fatal_write, is_done=is_done) if fatal_write else store.queue
        peers = Peers(
            invoker=Road(facts), functions=Road(facts), neighbours=Neighbours(facts),
            metrics=SimpleNamespace(record_value=ignore), clock=clock, check_payload=bytes,
        )  # fmt: skip
        invocation = AsyncInvocation(queue, store.documents, peers, ShareLimits())
        async with invocation.running(0):
            for number in range(count):
                call = InvokeCall(
                    request_id=RequestId(new_uuid()), target=Target(SCOPE, "fn"),
                    payload=b'"fail"' if number % 2 else b"{}",
                )  # fmt: skip
                await invocation.acceptance.accept(call)
                facts.write("accepted", call.request_id)
            while await store.queue.names(""):
                await clock.sleep_s(1)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "done"))

"""Functions in a memory store, and the view of them."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from lambent.invoke.functions import FunctionView
from lambent.model.concurrency import ConcurrencyPlan, render_plan
from lambent.model.documents import (
    AliasSpec,
    CodeSpec,
    FunctionSpec,
    FunctionStatus,
    Publication,
    State,
    function_spec_key,
    function_status_key,
    render_alias,
    render_function_spec,
    render_function_status,
)
from lambent.model.functions import LogSettings
from lambent.model.ids import Digest, RequestId, RevisionId, Scope
from lambent.model.invocations import InvokeCall, Target
from lambent.testing.clock import FakeClock

SCOPE = Scope("111111111111", "us-east-1")
ARN = "arn:aws:lambda:us-east-1:111111111111:function:fn"


def make_spec(name="fn", generation=1, **changes):
    values = {
        "scope": SCOPE, "name": name, "generation": generation, "first_generation": 1,
        "revision_id": RevisionId("r"), "last_modified_at": datetime(2026, 11, 1, tzinfo=UTC),
        "role": "arn:aws:iam::111111111111:role/r", "handler": "app.handler", "runtime": "python3.13",
        "log": LogSettings(group=f"/aws/lambda/{name}"),
        "code": CodeSpec(digest=Digest("a" * 64), sha256_base64="x", zip_bytes=1, unzipped_bytes=1),
    }  # fmt: skip
    return FunctionSpec(**(values | changes))


def make_status(live=None, state=State.ACTIVE, generation=1, first_generation=1):
    return FunctionStatus(
        generation=generation,
        first_generation=first_generation,
        live=live,
        state=state,
        revision_id=RevisionId("s"),
    )


def make_call(payload=b"{}", *, name="fn", qualifier=None, **changes):
    values = {
        "request_id": RequestId("00000000-0000-4000-8000-000000000000"),
        "target": Target(SCOPE, name, qualifier),
        "payload": payload,
        "caller_arn": "arn:aws:iam::111111111111:user/u",
    }
    return InvokeCall(**(values | changes))


async def put_spec(documents, spec):
    return await documents.put(function_spec_key(spec.scope, spec.name), render_function_spec(spec))


async def put_status(documents, name, status):
    return await documents.put(function_status_key(SCOPE, name), render_function_status(status))


@asynccontextmanager
async def open_view(documents, **changes):
    """Yield a loaded, following view, and what it said of replaced versions."""
    replaced = []
    view = FunctionView(
        documents,
        FakeClock(),
        lambda spec: (("GENERATION", str(spec.generation)),),
        lambda *what: replaced.append(what),
        **changes,
    )
    await view.load()
    async with asyncio.TaskGroup() as group:
        following = group.create_task(view.run())
        yield view, replaced
        following.cancel()


@pytest.fixture
def kit():
    return SimpleNamespace(
        SCOPE=SCOPE, ARN=ARN, make_spec=make_spec, make_status=make_status, make_call=make_call, put_spec=put_spec,
        put_status=put_status, open_view=open_view, State=State, Target=Target,
        AliasSpec=AliasSpec, ConcurrencyPlan=ConcurrencyPlan, render_plan=render_plan,
        Publication=Publication, render_alias=render_alias, render_spec=render_function_spec,
        render_status=render_function_status, spec_key=function_spec_key, status_key=function_status_key,
    )  # fmt: skip

"""A real store for logs, and what stands on it."""

from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import pytest

from lambent.model.ids import RequestId, Scope
from lambent.model.requests import Caller, RequestContext
from lambent.observe.log_events import StoredEvents
from lambent.observe.log_groups import LogGroups
from lambent.observe.log_writer import LogWriter
from lambent.observe.logs_api import LogsApi
from lambent.observe.store_seam import StoredDocuments, StoreParts
from lambent.store.contract import ABSENT, Conflict, Entry
from lambent.store.sqlite.engine import open_sqlite_store
from lambent.testing.clock import FakeClock

SCOPE = Scope("111111111111", "eu-central-1")


@dataclass
class Logs:
    """Everything on one store. Calls are ``await logs.do("CreateLogGroup", logGroupName=…)``."""

    store: object
    clock: FakeClock
    events: object
    groups: LogGroups
    writer: LogWriter
    commands: dict
    scope: Scope = SCOPE

    async def do(self, operation, **members):
        context = RequestContext(self.scope, RequestId("r"), Caller(self.scope.account_id, "a"))
        return await self.commands[operation](context, members)

    @property
    def now_ms(self):
        return int(self.clock.now().timestamp() * 1000)

    async def put(self, group, stream, *events):
        """Put events, as (milliseconds from now, message)."""
        taken = [{"timestamp": self.now_ms + at, "message": message} for at, message in events]
        return await self.do("PutLogEvents", logGroupName=group, logStreamName=stream, logEvents=taken)


@pytest.fixture(name="open_logs")
def _open_logs():
    """Return ``open_logs``, for tests that open a store themselves."""
    return open_logs


@asynccontextmanager
async def open_logs(path, clock=None, **writer):
    clock = clock or FakeClock()
    async with open_sqlite_store(path, clock=clock, stream_limit_bytes=64 * 1024 * 1024) as store:
        parts = StoreParts(
            documents=store.documents, streams=store.streams, entry=Entry, absent=ABSENT, conflict=Conflict
        )
        events = StoredEvents(parts)
        groups = LogGroups(StoredDocuments(parts), events, clock)
        log_writer = LogWriter(groups, events, clock, **writer)
        commands = LogsApi(groups, events, clock, log_writer.flush).commands
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(log_writer.run)
            yield Logs(store, clock, events, groups, log_writer, commands)
            tasks.cancel_scope.cancel()


@pytest.fixture
async def logs(tmp_path):
    async with open_logs(tmp_path) as opened:
        yield opened

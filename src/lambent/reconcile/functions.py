"""Makes every spec of a function or version true: tree, runtime, bytecode, live, settled. Writes statuses only.

One task per function with work to do; what a crash interrupts is found unsettled at the next start.
"""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
import structlog

from lambent.model.clock import Clock
from lambent.model.documents import (
    FUNCTION_SPECS,
    FUNCTION_STATUSES,
    VERSION_SPECS,
    VERSION_STATUSES,
    FunctionSpec,
    FunctionStatus,
    parse_function_spec,
    parse_function_status,
    render_function_status,
    spec_key,
    status_key,
)
from lambent.model.errors import HostError
from lambent.model.ids import RevisionId
from lambent.reconcile.seams import CodeTrees, PreparedRuntime, RuntimeStock, Visible
from lambent.reconcile.settling import (
    INTERNAL_ERROR,
    INVALID_RUNTIME,
    decide_failed,
    decide_live,
    decide_ready,
    is_curable,
    is_settled,
    says,
)
from lambent.store.contract import ABSENT, Conflict, Cursor, Documents, StoreError, Unavailable, Unknown, WatchLost

_BLOCK: Final = 1000
_LONGEST_PAUSE_S: Final = 30.0
_KINDS: Final = ((FUNCTION_SPECS, FUNCTION_STATUSES), (VERSION_SPECS, VERSION_STATUSES))
log = structlog.get_logger(__name__)


class FunctionReconciler:
    """Watches specs of functions and settles each. ``run`` belongs into the assembly's task group."""

    def __init__(
        self,
        documents: Documents,
        trees: CodeTrees,
        runtimes: RuntimeStock,
        visible: Visible,
        clock: Clock,
        *,
        at_once: int = 4,
        retry_s: float = 300.0,
        expect: Callable[[FunctionSpec], None] = lambda spec: None,
    ) -> None:
        self._documents = documents
        self._trees = trees
        self._runtimes = runtimes
        self._visible = visible
        self._clock = clock
        self._retry_s = retry_s
        self._expect = expect  # hears of a function that is about to become Active
        self._room = asyncio.Semaphore(at_once)  # packages unpacked or compiled at a time; others wait for their turn
        self._asked: dict[str, bool] = {}  # spec key of each function with a task → whether it changed meanwhile
        self._failed: set[str] = set()  # spec keys of functions that lack something of this host

    async def run(self) -> None:
        """Settle what is unsettled now, then follow changes, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._retry_failed(group), name="retry failed functions")
            for specs, statuses in _KINDS:
                group.create_task(self._watch(specs, statuses, group), name=f"reconcile {specs}")

    async def reconcile_once(self, key: str, *, retry: bool = False) -> bool:
        """Bring the function of spec ``key`` one whole way; False if there was nothing to do.

        ``retry`` tries a function again that failed for want of something on this host.
        """
        doc, status_doc = await self._documents.find(key), await self._documents.find(status_key(key))
        if doc is None:
            self._failed.discard(key)
            return bool(await self._documents.delete(status_key(key)))
        spec = parse_function_spec(doc.value)
        status = parse_function_status(status_doc.value) if status_doc else None
        if is_settled(spec, status) and not (retry and status is not None and is_curable(status)):
            return False
        return await self._settle(spec, status, status_doc.rev if status_doc else None)

    async def _settle(self, spec: FunctionSpec, status: FunctionStatus | None, rev: int | None) -> bool:
        """Write the statuses that follow; False if all was said before."""
        try:
            runtime = await self._prepare(spec)
        except _SetupFailed as failure:
            return await self._fail(spec, status, rev, failure)
        self._expect(spec)
        live_rev = await self._write(spec, decide_live(spec, status), rev)
        # LastUpdateStatus turns Successful when every live view runs this spec, not before.
        await self._visible(spec.status_key, live_rev)
        ready = decide_ready(spec, _new_revision_id(), runtime.version_arn(spec.scope.region))
        await self._write(spec, ready, live_rev)
        self._failed.discard(spec.key)
        log.info("function_settled", function_arn=spec.arn, version=spec.version, generation=spec.generation)
        return True

    async def _prepare(self, spec: FunctionSpec) -> PreparedRuntime:
        with _failing_as(INTERNAL_ERROR):
            async with self._room:
                await self._trees.ensure_tree(spec.code.digest)
        with _failing_as(INVALID_RUNTIME):
            runtime = await self._runtimes.prepare(spec.runtime or "", spec.architectures[0])
        if runtime.python is not None:
            try:
                async with self._room:
                    await self._trees.ensure_bytecode(spec.code.digest, runtime.python)
            except Exception:
                # Bytecode only makes cold starts faster; a function runs without.
                log.exception("bytecode_failed", function_arn=spec.arn)
        return runtime

    async def _fail(
        self, spec: FunctionSpec, status: FunctionStatus | None, rev: int | None, failure: "_SetupFailed"
    ) -> bool:
        self._failed.add(spec.key)
        if status is not None and is_settled(spec, status) and says(status, failure.reason):
            return False  # tried again in vain: no new revision for old news
        log.warning("function_failed", function_arn=spec.arn, code=failure.code, reason=failure.reason)
        failed = decide_failed(spec, status, _new_revision_id(), code=failure.code, reason=failure.reason)
        await self._write(spec, failed, rev)
        return True

    async def _write(self, spec: FunctionSpec, status: FunctionStatus, rev: int | None) -> int:
        document = render_function_status(status)
        return await self._documents.put(spec.status_key, document, expect=ABSENT if rev is None else rev)

    def _ask(self, key: str, group: asyncio.TaskGroup, *, retry: bool = False) -> None:
        """See that a task looks at the function after this moment."""
        if key in self._asked:
            self._asked[key] = True
            return
        self._asked[key] = False
        group.create_task(self._follow(key, retry=retry), name=f"reconcile {key}")

    async def _follow(self, key: str, *, retry: bool) -> None:
        """Reconcile one function until it is settled and nobody asked meanwhile."""
        pause_s = 0.1
        while True:
            self._asked[key] = False
            try:
                await self.reconcile_once(key, retry=retry)
            except Conflict:
                continue  # somebody else wrote the status: look again
            except Exception:
                log.exception("reconcile_failed", key=key)
                await self._clock.sleep_s(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
                continue
            if not self._asked[key]:
                del self._asked[key]
                return
            retry = False

    async def _retry_failed(self, group: asyncio.TaskGroup) -> None:
        """Look again now and then whether the host has got what a function lacked."""
        while True:
            await self._clock.sleep_s(self._retry_s)
            for key in sorted(self._failed):
                self._ask(key, group, retry=True)

    async def _watch(self, specs: str, statuses: str, group: asyncio.TaskGroup) -> None:
        """Follow one kind of spec for ever."""
        while True:
            cursor = await self._start_unsettled(specs, statuses, group)
            try:
                async for change in self._documents.watch(specs, cursor):
                    self._ask(change.key, group)
            except WatchLost:
                log.warning("function_watch_lost", prefix=specs)
            except StoreError:
                log.exception("function_watch_failed", prefix=specs)
                await self._clock.sleep_s(1.0)

    async def _start_unsettled(self, of_specs: str, of_statuses: str, group: asyncio.TaskGroup) -> Cursor:
        """Ask for every function whose status is missing, old, curable, or of a function that is gone."""
        statuses, _ = await self._read_all(of_statuses)
        specs, cursor = await self._read_all(of_specs)
        for key, value in specs.items():
            if _may_have_work(value, statuses.pop(key, None)):
                self._ask(key, group, retry=True)
        for key in statuses:
            self._ask(key, group)
        return cursor

    async def _read_all(self, prefix: str) -> tuple[dict[str, "_Glance | None"], Cursor]:
        """Return a glance at all documents, each by the key of its spec, and where to watch from."""
        values: dict[str, _Glance | None] = {}
        page = await self._documents.list(prefix, limit=_BLOCK)
        cursor = page.cursor
        while True:
            values.update((spec_key(doc.key), _glance(doc.encoded)) for doc in page.docs)
            if page.next is None:
                return values, cursor
            page = await self._documents.list(prefix, after=page.next, limit=_BLOCK)


class _SetupFailed(Exception):
    """A function cannot run here as it is, for a reason its owner should read."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


@contextmanager
def _failing_as(code: str) -> Iterator[None]:
    """Turn a HostError of the block into the function's failure; the store's own trouble is tried again instead."""
    try:
        yield
    except (Unavailable, Unknown):
        raise
    except HostError as error:
        raise _SetupFailed(code, str(error)) from error


class _GlanceAtPublication(msgspec.Struct):
    was_live: bool


class _Glance(msgspec.Struct):
    """What tells of a spec or a status whether there may be work; the rest of the document is skipped."""

    generation: int
    first_generation: int
    publication: _GlanceAtPublication | None = None
    state: str = ""
    last_update_status: str = ""


_GLANCES: Final = msgspec.json.Decoder(_Glance)


def _glance(encoded: bytes) -> _Glance | None:
    """Return the few fields; None of what cannot be read."""
    try:
        return _GLANCES.decode(encoded)
    except msgspec.DecodeError:
        return None


def _may_have_work(spec: _Glance | None, status: _Glance | None) -> bool:
    """Return whether the function needs a closer look; cheap, for ten thousand of them at a start."""
    if spec is None:
        return True
    if spec.publication is not None and spec.publication.was_live:
        return False
    if status is None or (spec.generation, spec.first_generation) != (status.generation, status.first_generation):
        return True
    return status.state != "Active" or status.last_update_status != "Successful"


def _new_revision_id() -> RevisionId:
    return RevisionId(str(uuid.uuid4()))

"""Makes provisioned concurrency true: what the plan asks for, split over versions, kept as environments, and told.

Environments die with the process, so a start says IN_PROGRESS again until they are there.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import structlog

from lambent.model.clock import Clock
from lambent.model.concurrency import (
    CONCURRENCY_SPECS,
    PROVISIONED_STATUSES,
    ConcurrencyPlan,
    ProvisionedSpec,
    ProvisionedStatus,
    Provisioning,
    decide_shares,
    parse_plan,
    provisioned_status_key,
)
from lambent.model.documents import (
    ALIAS_SPECS,
    VERSION_SPECS,
    VERSION_STATUSES,
    alias_key,
    parse_alias,
    render_document,
)
from lambent.model.errors import CallerError, HostError
from lambent.model.functions import FunctionVersion
from lambent.model.ids import FunctionArn, Scope
from lambent.model.invocations import Target
from lambent.model.names import is_alias_name
from lambent.reconcile.seams import Keeper, Kept
from lambent.store.contract import Documents, StoreError, WatchLost

_BLOCK: Final = 1000
_RETRY_S: Final = 1.0
log = structlog.get_logger(__name__)

Wanted = dict[FunctionArn, tuple[FunctionVersion, int]]


class ProvisionedReconciler:
    """Follows plans, versions and aliases. ``resolve`` is the data plane's view; ``keeper`` has the environments."""

    def __init__(
        self, documents: Documents, resolve: Callable[[Target], FunctionVersion], keeper: Keeper, clock: Clock
    ) -> None:
        self._documents = documents
        self._resolve = resolve
        self._keeper = keeper
        self._clock = clock
        self._woken = asyncio.Event()
        self._has_waiting = False  # for a version that is not live yet
        self._told: dict[str, Any] = {}  # status key → what this process wrote last
        keeper.on_change = self._woken.set

    async def run(self) -> None:
        """Do what is asked for now, then follow changes, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for prefix in (CONCURRENCY_SPECS, VERSION_SPECS, VERSION_STATUSES, ALIAS_SPECS):
                group.create_task(self._watch(prefix), name=f"provision by {prefix}")
            self._woken.set()
            while True:
                await self._woken.wait()
                self._woken.clear()
                try:
                    await self.reconcile_once()
                except Exception:
                    log.exception("provisioning_not_reconciled")
                    self._has_waiting = True
                if self._has_waiting:
                    await self._clock.sleep_s(_RETRY_S)
                    self._woken.set()

    async def reconcile_once(self) -> bool:
        """Tell the keeper what is wanted, and everybody what there is; False if all was said before."""
        plans = [parse_plan(value) for value in await self._values(CONCURRENCY_SPECS)]
        wanted: Wanted = {}
        shares = []
        self._has_waiting = False
        for plan in plans:
            for function, specs in plan.provisioned.items():
                for qualifier, spec in specs.items():
                    share = await self._find_shares(plan.scope, function, qualifier, spec)
                    shares.append((provisioned_status_key(plan.scope, function, qualifier), spec, share))
                    self._want(wanted, plan, function, share)
        self._keeper.keep(wanted)
        return await self._tell(shares, wanted)

    async def _tell(self, shares: list[tuple[str, ProvisionedSpec, dict[FunctionArn, int]]], wanted: Wanted) -> bool:
        has_changed = False
        left = {arn: self._keeper.find(arn) for arn in wanted}
        keys = set()
        for key, spec, share in shares:
            keys.add(key)
            document = render_document(decide_status(spec, share, left))
            if self._told.get(key) != document:
                await self._documents.put(key, document)
                self._told[key] = document
                has_changed = True
        for key in [doc_key for doc_key in await self._keys(PROVISIONED_STATUSES) if doc_key not in keys]:
            self._told.pop(key, None)
            has_changed |= bool(await self._documents.delete(key))
        return has_changed

    async def _find_shares(
        self, scope: Scope, function: str, qualifier: str, spec: ProvisionedSpec
    ) -> dict[FunctionArn, int]:
        alias = None
        if is_alias_name(qualifier):
            doc = await self._documents.find(alias_key(scope, function, qualifier))
            if doc is None:
                return {}
            alias = parse_alias(doc.value)
        shares = decide_shares(spec.requested, qualifier, alias)
        return {Target(scope, function, version).arn: count for version, count in shares.items()}

    def _want(self, wanted: Wanted, plan: ConcurrencyPlan, function: str, shares: dict[FunctionArn, int]) -> None:
        for arn, count in shares.items():
            target = Target(plan.scope, function, arn.rpartition(":")[2])
            try:
                version = self._resolve(target)
            except (CallerError, HostError) as error:
                log.info("provisioning_waits", version_arn=arn, reason=str(error))
                self._has_waiting = True
                continue
            wanted[arn] = (version, wanted[arn][1] + count if arn in wanted else count)

    async def _watch(self, prefix: str) -> None:
        while True:
            cursor = (await self._documents.list(prefix, limit=1)).cursor
            self._woken.set()
            try:
                async for _ in self._documents.watch(prefix, cursor):
                    self._woken.set()
            except WatchLost:
                log.warning("provisioning_watch_lost", prefix=prefix)
            except StoreError:
                log.exception("provisioning_watch_failed", prefix=prefix)
                await self._clock.sleep_s(_RETRY_S)

    async def _values(self, prefix: str) -> list[Any]:
        return [doc.value for doc in await self._docs(prefix)]

    async def _keys(self, prefix: str) -> list[str]:
        return [doc.key for doc in await self._docs(prefix)]

    async def _docs(self, prefix: str) -> list[Any]:
        docs: list[Any] = []
        after = ""
        while True:
            page = await self._documents.list(prefix, after=after, limit=_BLOCK)
            docs += page.docs
            if page.next is None:
                return docs
            after = page.next


def decide_status(
    spec: ProvisionedSpec, shares: dict[FunctionArn, int], there: dict[FunctionArn, Kept]
) -> ProvisionedStatus:
    """Return what to say of a request that is spread over versions as ``shares``, with what there is of each."""
    kept = [(share, there[arn]) for arn, share in shares.items() if arn in there]
    allocated = sum(min(share, each.ready) for share, each in kept)
    available = sum(min(share, each.ready) for share, each in kept if each.is_open)
    reasons = [each.failure for share, each in kept if each.failure is not None and each.ready < share]
    state, reason = Provisioning.IN_PROGRESS, None
    if reasons:
        state, reason = Provisioning.FAILED, reasons[0]
    elif available == spec.requested:
        state = Provisioning.READY
    return ProvisionedStatus(
        revision_id=spec.revision_id, allocated=allocated, available=available, state=state, reason=reason
    )

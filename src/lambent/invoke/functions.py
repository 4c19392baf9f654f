"""The functions that can be invoked, in memory, kept fresh by the store's change notices.

Documents are kept as JSON and parsed when a function is first invoked: thousands of them cost bytes, not time. The
snapshot that serves is the status's ``live``: the old one while an update is under way, and after it failed. Versions
are snapshots under keys of their own; an alias names one of them, or draws between two for each call.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec
import structlog

from lambent.model.clock import Clock
from lambent.model.concurrency import CONCURRENCY_SPECS, ConcurrencyPlan, parse_plan
from lambent.model.documents import (
    ALIAS_SPECS,
    FUNCTION_SPECS,
    FUNCTION_STATUSES,
    VERSION_SPECS,
    VERSION_STATUSES,
    AliasSpec,
    FunctionSpec,
    alias_key,
    function_spec_key,
    function_version,
    joined_status,
    live_spec,
    parse_alias,
    parse_function_key,
    parse_function_spec,
    parse_function_status,
    status_key,
    version_spec_key,
)
from lambent.model.errors import HostError, ResourceConflict, ResourceNotFound
from lambent.model.functions import LATEST, FunctionVersion
from lambent.model.ids import FunctionArn, Scope
from lambent.model.invocations import Target
from lambent.model.names import function_not_found, is_alias_name
from lambent.model.policies import POLICY_SPECS, parse_policy, policy_key
from lambent.store.contract import Cursor, Documents, StoreError, WatchLost

RETRY_S: Final = 0.5
_FOLLOWED: Final = (
    FUNCTION_SPECS,
    FUNCTION_STATUSES,
    VERSION_SPECS,
    VERSION_STATUSES,
    ALIAS_SPECS,
    CONCURRENCY_SPECS,
    POLICY_SPECS,
)

log = structlog.get_logger(__name__)

_Name = tuple[str, str, str, str]  # account, region, function, qualifier
Variables = tuple[tuple[str, str], ...]
OnReplaced = Callable[[FunctionArn, int | None], None]
OnPlan = Callable[[ConcurrencyPlan], None]


class FunctionView:
    """What is invocable now. ``load``, then ``run`` in an owner's task; ``resolve`` reads memory only.

    ``open_variables`` gives a function's environment variables in clear text; ``on_replaced`` hears of a version ARN
    whose snapshots are outdated, but for one generation (None: all of them). ``on_plan`` hears of what an account's
    functions may claim of its concurrency. ``draw`` returns a number of [0, 1) for each call of an alias with weights.
    """

    def __init__(
        self,
        documents: Documents,
        clock: Clock,
        open_variables: Callable[[FunctionSpec], Variables],
        on_replaced: OnReplaced,
        on_plan: OnPlan = lambda plan: None,
        draw: Callable[[], float] = random.random,
        *,
        egress: str = "none",
    ) -> None:
        self._documents = documents
        self._clock = clock
        self._open_variables = open_variables
        self._on_replaced = on_replaced
        self._on_plan = on_plan
        self._draw = draw
        self._egress = egress
        self._values: dict[str, bytes] = {}
        self._revs: dict[str, int] = {}
        self._versions: dict[_Name, FunctionVersion] = {}
        self._aliases: dict[_Name, AliasSpec] = {}
        self._plans: dict[Scope, ConcurrencyPlan] = {}
        self._waiters: dict[str, list[tuple[int, asyncio.Future[None]]]] = {}
        self._cursors: dict[str, Cursor] = {}

    def resolve(self, target: Target) -> FunctionVersion:
        """Return the version that ``target`` names at this moment. Reads memory only.

        A snapshot: later updates do not change it. No qualifier means ``$LATEST``.
        Raises ResourceNotFound, ResourceConflict while it is Pending or Failed, with AWS's message for each.
        """
        scope, qualifier = target.scope, target.qualifier or LATEST
        name = (scope.account_id, scope.region, target.name, qualifier)
        if (version := self._versions.get(name)) is not None:
            return version
        if qualifier != LATEST and is_alias_name(qualifier):
            return self._resolve_alias(name, target)
        return self._load_version(name, target)

    def find_statements(self, target: Target) -> Sequence[Mapping[str, Any]]:
        """Return the statements of the policy of ``target`` as it is named; none where it has no policy."""
        stored = self._values.get(policy_key(target.scope, target.name, target.qualifier))
        function = self._values.get(function_spec_key(target.scope, target.name))
        if stored is None or function is None:
            return ()
        policy = parse_policy(msgspec.json.decode(stored))
        is_own = msgspec.json.decode(function).get("first_generation") == policy.first_generation
        return policy.statements if is_own else ()

    async def load(self) -> None:
        """Read every function's documents; returns when ``resolve`` answers for all that is stored."""
        for prefix in _FOLLOWED:
            self._cursors[prefix] = await self._list(prefix)

    async def run(self) -> None:
        """Follow the store until cancelled."""
        async with asyncio.TaskGroup() as group:
            for prefix in _FOLLOWED:
                group.create_task(self._follow(prefix), name=f"view of {prefix}")

    async def applied(self, key: str, rev: int) -> None:
        """Return once this view is at ``rev`` of ``key`` or beyond; at once for documents it does not follow."""
        if not key.startswith(_FOLLOWED) or self._revs.get(key, 0) >= rev:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(key, []).append((rev, waiter))
        await waiter

    # --- resolving

    def _resolve_alias(self, name: _Name, target: Target) -> FunctionVersion:
        if (alias := self._aliases.get(name)) is None:
            stored = self._values.get(alias_key(target.scope, target.name, name[3]))
            if stored is None:
                raise function_not_found(target)
            alias = self._aliases[name] = parse_alias(msgspec.json.decode(stored))
        version = alias.version
        # Developer guide, "Alias routing configuration": plain probability, drawn for each call.
        if alias.weights and self._draw() < alias.weights[0][1]:
            version = alias.weights[0][0]
        return self.resolve(Target(target.scope, target.name, version))

    def _load_version(self, name: _Name, target: Target) -> FunctionVersion:
        key = _spec_key(name, target)
        if key is None or (stored := self._values.get(key)) is None:
            # Recorded from AWS: without a qualifier, Invoke reports the name with ":$LATEST".
            raise function_not_found(Target(target.scope, target.name, name[3]))
        spec = parse_function_spec(msgspec.json.decode(stored))
        if spec.publication is not None:
            self._require_function(spec, target)
        status = None
        if (stored := self._values.get(status_key(key))) is not None:
            status = parse_function_status(msgspec.json.decode(stored))
        live = live_spec(spec, status)
        if live is None:
            # Developer guide, "Troubleshooting invocation": this text; that Failed reads alike is assumed.
            raise ResourceConflict(
                "The operation cannot be performed at this time. The function is currently in the following state: "
                f"{joined_status(spec, status).state}"
            )
        version = replace(
            function_version(live, self._open_variables(live), self._egress),
            reserved_concurrency=self._reserved(live.scope, live.name),
        )
        self._versions[name] = version
        return version

    def _reserved(self, scope: Scope, name: str) -> int | None:
        plan = self._plans.get(scope)
        return None if plan is None else plan.reserved.get(name)

    def _require_function(self, spec: FunctionSpec, target: Target) -> None:
        """Raise ResourceNotFound for what is left of a function that is gone."""
        stored = self._values.get(function_spec_key(spec.scope, spec.name))
        if stored is None or msgspec.json.decode(stored).get("first_generation") != spec.first_generation:
            raise function_not_found(target)

    # --- following

    async def _list(self, prefix: str) -> Cursor:
        page = await self._documents.list(prefix)
        cursor, seen = page.cursor, set[str]()
        while True:
            for doc in page.docs:
                seen.add(doc.key)
                self._apply(doc.key, doc.rev, doc.encoded)
            if page.next is None:
                break
            page = await self._documents.list(prefix, after=page.next)
        for key in [key for key in self._values if key.startswith(prefix) and key not in seen]:
            self._apply(key, self._revs[key], None)
        return cursor

    async def _follow(self, prefix: str) -> None:
        while True:
            try:
                if prefix not in self._cursors:
                    self._cursors[prefix] = await self._list(prefix)
                async for change in self._documents.watch(prefix, self._cursors[prefix]):
                    self._apply(change.key, change.rev, change.encoded)
            except WatchLost:
                log.info("watch_lost", prefix=prefix)
            except StoreError as error:
                log.warning("watch_failed", prefix=prefix, reason=str(error))
                await self._clock.sleep_s(RETRY_S)
            self._cursors.pop(prefix, None)  # a watch that ended says not how far it came: list again

    def _apply(self, key: str, rev: int, encoded: bytes | None) -> None:
        if rev < self._revs.get(key, 0):
            return
        self._revs[key] = rev
        if encoded is None:
            self._values.pop(key, None)
        else:
            self._values[key] = encoded
        try:
            self._refresh(key)
        except HostError as error:  # a damaged document must not take the others with it
            log.error("document_unreadable", key=key, reason=str(error))
        self._wake(key, rev)

    def _refresh(self, key: str) -> None:
        """Drop what ``key`` speaks of, if it was invoked, and say which generation of it may go on."""
        if key.startswith(POLICY_SPECS):
            return  # read when somebody of another account calls
        if key.startswith(CONCURRENCY_SPECS):
            self._refresh_plan(key)
            return
        if not (self._versions or self._aliases):
            return  # nobody invoked anything yet: at a start, this is asked for every function there is
        scope, function, qualifier = parse_function_key(key)
        name = (scope.account_id, scope.region, function, qualifier)
        if key.startswith(ALIAS_SPECS):
            self._aliases.pop(name, None)
            return
        if (old := self._versions.pop(name, None)) is None:
            return
        try:
            new = self._load_version(name, Target(scope, function, qualifier))
        except (ResourceConflict, ResourceNotFound):
            self._on_replaced(old.arn, None)
            return
        except HostError:
            self._on_replaced(old.arn, None)
            raise
        if new.generation != old.generation:
            self._on_replaced(old.arn, new.generation)

    def _refresh_plan(self, key: str) -> None:
        account_id, region = key.removeprefix(CONCURRENCY_SPECS).split("/")
        scope, stored = Scope(account_id, region), self._values.get(key)
        plan = ConcurrencyPlan(scope=scope) if stored is None else parse_plan(msgspec.json.decode(stored))
        self._plans[scope] = plan
        for name, version in self._versions.items():
            if version.scope == scope and version.reserved_concurrency != plan.reserved.get(version.name):
                self._versions[name] = replace(version, reserved_concurrency=plan.reserved.get(version.name))
        self._on_plan(plan)

    def _wake(self, key: str, rev: int) -> None:
        waiting = self._waiters.pop(key, None)
        if not waiting:
            return
        still = [(wanted, waiter) for wanted, waiter in waiting if wanted > rev and not waiter.done()]
        if still:
            self._waiters[key] = still
        for wanted, waiter in waiting:
            if wanted <= rev and not waiter.done():
                waiter.set_result(None)


def _spec_key(name: _Name, target: Target) -> str | None:
    """Return the key of the snapshot that a name without alias means; None for what can be no version."""
    if name[3] == LATEST:
        return function_spec_key(target.scope, target.name)
    if name[3].isdecimal() and name[3][0] != "0":
        return version_spec_key(target.scope, target.name, int(name[3]))
    return None

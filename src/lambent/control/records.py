"""Functions as stored: a spec joined with its status, changed by compare-and-set. Only this module asks the store.

A function, its versions and its aliases are one family: whatever changes one of them writes the function's own spec in
the same commit, if only as it was. So of two writers one is first, and the other looks again at what there is now.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from lambent.control.seams import Applied
from lambent.model.concurrency import (
    ConcurrencyPlan,
    ProvisionedSpec,
    ProvisionedStatus,
    concurrency_key,
    joined_provisioned_status,
    parse_plan,
    parse_provisioned_status,
    provisioned_status_key,
    render_plan,
)
from lambent.model.documents import (
    VERSION_SPECS,
    AliasSpec,
    FunctionSpec,
    FunctionStatus,
    State,
    UpdateStatus,
    alias_key,
    aliases_prefix,
    function_spec_key,
    function_specs_prefix,
    function_status_key,
    joined_status,
    parse_alias,
    parse_function_spec,
    parse_function_status,
    render_function_spec,
    status_key,
    version_spec_key,
    version_specs_prefix,
)
from lambent.model.errors import PreconditionFailed, ResourceConflict, ResourceNotFound
from lambent.model.event_documents import event_configs_prefix
from lambent.model.functions import LATEST
from lambent.model.ids import Scope
from lambent.model.invocations import Target
from lambent.model.names import function_not_found, is_alias_name
from lambent.model.policies import PolicySpec, parse_policy, policies_prefix, policy_key
from lambent.store.contract import ABSENT, Conflict, Delete, Doc, Documents, Expect, Put

_BLOCK: Final = 1000  # documents read at a time where all are read
_FAMILY_BLOCK: Final = 900  # documents deleted in one commit
_T = TypeVar("_T")
Write = Put | Delete

STALE_REVISION: Final = (
    "The Revision Id provided does not match the latest Revision Id. "
    "Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
)


@dataclass(frozen=True, slots=True)
class FunctionRecord:
    """A function as it stands: what is wanted, what came of it, and the revision of the document."""

    spec: FunctionSpec
    status: FunctionStatus
    rev: int


@dataclass(frozen=True, slots=True)
class FamilyChange:
    """What a command decided: the function's own spec, maybe as it was, and what is written beside it."""

    spec: FunctionSpec
    beside: tuple[Write, ...] = ()


class FunctionRecords:
    """Reads and writes specs. Writes return when the data plane of this process sees them."""

    def __init__(self, documents: Documents, applied: Applied) -> None:
        self._documents = documents
        self._applied = applied

    async def find(self, scope: Scope, name: str) -> FunctionRecord | None:
        """Return the function, or None."""
        return await self._find(function_spec_key(scope, name))

    async def _find(self, key: str) -> FunctionRecord | None:
        # The status first: read in this order, one that is settled never speaks of a later spec than the one shown.
        status = await self._documents.find(status_key(key))
        doc = await self._documents.find(key)
        return None if doc is None else _joined(doc, status)

    async def find_version(self, function: FunctionSpec, number: int) -> FunctionRecord | None:
        """Return a version of the function, or None."""
        record = await self._find(version_spec_key(function.scope, function.name, number))
        return record if record is not None and _is_of(function, record.spec) else None

    async def find_alias(self, function: FunctionSpec, name: str) -> AliasSpec | None:
        """Return an alias of the function, or None."""
        doc = await self._documents.find(alias_key(function.scope, function.name, name))
        alias = None if doc is None else parse_alias(doc.value)
        return alias if alias is not None and _is_of(function, alias) else None

    async def find_policy(self, function: FunctionSpec, qualifier: str | None) -> PolicySpec | None:
        """Return the policy of the function, or of one of its versions or aliases, or None."""
        doc = await self._documents.find(policy_key(function.scope, function.name, qualifier))
        policy = None if doc is None else parse_policy(doc.value)
        return policy if policy is not None and _is_of(function, policy) else None

    async def get_target(self, target: Target) -> FunctionRecord:
        """Return what ``target`` names, with the function's own tags; raise function_not_found with it as written."""
        missing = function_not_found(target)
        function = await self.get(target.scope, target.name, missing)
        if target.qualifier in (None, LATEST):
            return function
        version = await self.find_qualified(function.spec, str(target.qualifier))
        if version is None:
            raise missing
        return replace(version, spec=replace(version.spec, tags=function.spec.tags))

    async def find_qualified(self, function: FunctionSpec, qualifier: str) -> FunctionRecord | None:
        """Return the version that a number means, or the one that an alias names first; None where there is none."""
        if qualifier == LATEST:
            return await self.find(function.scope, function.name)
        if is_alias_name(qualifier):
            alias = await self.find_alias(function, qualifier)
            return None if alias is None else await self.find_qualified(function, alias.version)
        if not qualifier.isdecimal() or qualifier[0] == "0":
            return None
        return await self.find_version(function, int(qualifier))

    async def get(self, scope: Scope, name: str, missing: ResourceNotFound) -> FunctionRecord:
        """Return the function, or raise ``missing``."""
        if (record := await self.find(scope, name)) is None:
            raise missing
        return record

    async def find_last_generation(self, scope: Scope, name: str) -> int:
        """Return the generation that a deleted function of this name left behind, 0 if nothing is left of it."""
        status = await self._documents.find(function_status_key(scope, name))
        return parse_function_status(status.value).generation if status else 0

    async def create(self, spec: FunctionSpec, *beside: Put) -> FunctionRecord:
        """Write a new function, and ``beside`` with it. ResourceConflict if the name is taken."""
        try:
            await self._write(Put(spec.key, render_function_spec(spec), expect=ABSENT), *beside)
        except Conflict as conflict:
            raise already_exists(spec.name) from conflict
        return FunctionRecord(spec, joined_status(spec, None), 0)

    async def find_plan(self, scope: Scope) -> tuple[ConcurrencyPlan, int | Expect]:
        """Return who may claim how much of the account's concurrency, and what a write of it has to expect."""
        doc = await self._documents.find(concurrency_key(scope))
        return (ConcurrencyPlan(scope=scope), ABSENT) if doc is None else (parse_plan(doc.value), doc.rev)

    async def find_provisioned(self, target: Target, spec: ProvisionedSpec) -> ProvisionedStatus:
        """Return what came of what is provisioned for a version or alias."""
        doc = await self._documents.find(provisioned_status_key(target.scope, target.name, str(target.qualifier)))
        return joined_provisioned_status(spec, None if doc is None else parse_provisioned_status(doc.value))

    async def plan_writes(
        self, scope: Scope, decide: Callable[[ConcurrencyPlan], ConcurrencyPlan]
    ) -> tuple[Write, ...]:
        """Return what has to be written beside a function so that the plan becomes what ``decide`` makes of it."""
        plan, expect = await self.find_plan(scope)
        changed = decide(plan)
        return () if changed == plan else (Put(changed.key, render_plan(changed), expect=expect),)

    async def change(
        self, scope: Scope, name: str, missing: ResourceNotFound, decide: Callable[[FunctionRecord], FunctionSpec]
    ) -> FunctionRecord:
        """Write what ``decide`` makes of the function as it stands; asked again whenever another writer was first."""

        async def whole(record: FunctionRecord) -> tuple[FamilyChange, FunctionRecord]:
            spec = decide(record)
            return FamilyChange(spec), FunctionRecord(spec, joined_after(spec, record), record.rev)

        return await self.change_family(scope, name, missing, whole)

    async def change_family(
        self,
        scope: Scope,
        name: str,
        missing: ResourceNotFound,
        decide: Callable[[FunctionRecord], Awaitable[tuple[FamilyChange, _T]]],
    ) -> _T:
        """Write the change that ``decide`` makes of the function as it stands, all or nothing; return what it says.

        It is asked again whenever another writer was first.
        """
        while True:
            record = await self.get(scope, name, missing)
            change, answer = await decide(record)
            own = Put(record.spec.key, render_function_spec(change.spec), expect=record.rev)
            try:
                await self._write(own, *change.beside)
            except Conflict:
                continue
            return answer

    async def delete(self, scope: Scope, name: str, missing: ResourceNotFound) -> None:
        """Delete the function with its aliases, event invoke configurations and versions, or raise ``missing``.

        A family too large for one commit goes in several, the aliases first: what is left after a crash between them
        is a function with fewer versions, as if those had been deleted one by one.
        """
        while True:
            record = await self.get(scope, name, missing)
            keys = [doc.key async for doc in self._all(aliases_prefix(scope, name))]
            keys += [doc.key async for doc in self._all(event_configs_prefix(scope, name))]
            keys += [doc.key async for doc in self._all(policies_prefix(scope, name))]
            keys += [doc.key async for doc in self._all(version_specs_prefix(scope, name))]
            is_last = len(keys) <= _FAMILY_BLOCK
            own: Write = Delete(record.spec.key, expect=record.rev)
            plan = await self.plan_writes(scope, lambda plan: plan.without(name))
            if not is_last:
                own = Put(record.spec.key, render_function_spec(record.spec), expect=record.rev)
            try:
                await self._write(own, *plan, *(Delete(key) for key in keys[:_FAMILY_BLOCK]))
            except Conflict:
                continue
            if is_last:
                return

    async def _write(self, *writes: Write) -> None:
        revs = await self._documents.transact(*writes)
        for write, rev in zip(writes, revs, strict=True):
            await self._applied(write.key, rev)

    async def list_functions(self, scope: Scope, *, after: str, limit: int) -> tuple[list[FunctionRecord], str | None]:
        """Return up to ``limit`` functions by name, from behind ``after``, and the name to go on after."""
        page = await self._documents.list(
            function_specs_prefix(scope), after=function_spec_key(scope, after) if after else "", limit=limit
        )
        return [await self._join(doc) for doc in page.docs], page.next and page.next.rpartition("/")[2]

    async def list_versions(
        self, function: FunctionSpec, *, after: int, limit: int
    ) -> tuple[list[FunctionRecord], int | None]:
        """Return up to ``limit`` versions of the function above ``after``, and the number to go on after."""
        prefix = version_specs_prefix(function.scope, function.name)
        key = version_spec_key(function.scope, function.name, after)
        page = await self._documents.list(prefix, after=key, limit=limit)
        records = [await self._join(doc) for doc in page.docs]
        following = None if page.next is None else int(page.next.rpartition("/")[2])
        return [record for record in records if _is_of(function, record.spec)], following

    async def aliases(self, function: FunctionSpec) -> list[AliasSpec]:
        """Return every alias of the function, by name."""
        found = [parse_alias(doc.value) async for doc in self._all(aliases_prefix(function.scope, function.name))]
        return [alias for alias in found if _is_of(function, alias)]

    async def specs(self, scope: Scope) -> AsyncIterator[FunctionSpec]:
        """Yield every spec of ``scope``: functions first, then versions."""
        for prefix in (function_specs_prefix(scope), f"{VERSION_SPECS}{scope.account_id}/{scope.region}/"):
            async for doc in self._all(prefix):
                yield parse_function_spec(doc.value)

    async def _join(self, doc: Doc) -> FunctionRecord:
        return _joined(doc, await self._documents.find(status_key(doc.key)))

    async def _all(self, prefix: str) -> AsyncIterator[Doc]:
        after = ""
        while True:
            page = await self._documents.list(prefix, after=after, limit=_BLOCK)
            for doc in page.docs:
                yield doc
            if page.next is None:
                return
            after = page.next


def joined_after(spec: FunctionSpec, before: FunctionRecord) -> FunctionStatus:
    """Return what answers say of ``spec`` that was just written in place of ``before``."""
    if spec.generation == before.spec.generation:
        return replace(before.status, revision_id=spec.touched_revision_id or before.status.revision_id)
    return joined_status(spec, before.status)


def _joined(doc: Doc, status: Doc | None) -> FunctionRecord:
    spec = parse_function_spec(doc.value)
    return FunctionRecord(spec, joined_status(spec, parse_function_status(status.value) if status else None), doc.rev)


def _is_of(function: FunctionSpec, member: FunctionSpec | AliasSpec | PolicySpec) -> bool:
    """Return whether a version, alias or policy is this function's, and not left over from a namesake that is gone."""
    return member.first_generation == function.first_generation


def already_exists(name: str) -> ResourceConflict:
    """Return AWS's error for a name that is taken (sic "exist")."""
    return ResourceConflict(f"Function already exist: {name}")


def require_not_pending(record: FunctionRecord) -> None:
    """Raise what AWS answers to a change of a function that is still being created."""
    if record.status.state is State.PENDING:
        raise not_now(record)


def not_now(record: FunctionRecord) -> ResourceConflict:
    """Return AWS's error for a function in a state that does not bear the operation."""
    # Seen from AWS by SDK users: the text names state and code.
    return ResourceConflict(
        f"The operation cannot be performed at this time. The resource {record.spec.arn} is currently in the following "
        f"state: '{record.status.state}'. StateReasonCode: '{record.status.state_reason_code}'"
    )


def require_updatable(record: FunctionRecord, revision_id: str | None) -> None:
    """Raise what AWS answers to an update that comes while something is under way, or with an old RevisionId."""
    spec, status = record.spec, record.status
    require_not_pending(record)
    if status.last_update_status is UpdateStatus.IN_PROGRESS:
        # Recorded from AWS (2025-11): a second update of code or configuration.
        raise ResourceConflict(
            f"The operation cannot be performed at this time. An update is in progress for resource: {spec.arn}"
        )
    if revision_id is not None and revision_id != status.revision_id:
        raise PreconditionFailed(STALE_REVISION)

"""Functions as stored: a spec joined with its status, changed by compare-and-set. Only this module asks the store."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from lambent.control.seams import Applied
from lambent.model.documents import (
    FunctionSpec,
    FunctionStatus,
    State,
    UpdateStatus,
    function_spec_key,
    function_specs_prefix,
    function_status_key,
    joined_status,
    parse_function_spec,
    parse_function_status,
    render_function_spec,
)
from lambent.model.errors import PreconditionFailed, ResourceConflict, ResourceNotFound
from lambent.model.ids import Scope
from lambent.store.contract import ABSENT, Conflict, Documents

_BLOCK: Final = 1000  # documents read at a time where all are read

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


class FunctionRecords:
    """Reads and writes specs. Writes return when the data plane of this process sees them."""

    def __init__(self, documents: Documents, applied: Applied) -> None:
        self._documents = documents
        self._applied = applied

    async def find(self, scope: Scope, name: str) -> FunctionRecord | None:
        """Return the function, or None."""
        # The status first: read in this order, one that is settled never speaks of a later spec than the one shown.
        status = await self._documents.find(function_status_key(scope, name))
        doc = await self._documents.find(function_spec_key(scope, name))
        if doc is None:
            return None
        spec = parse_function_spec(doc.value)
        return FunctionRecord(
            spec, joined_status(spec, parse_function_status(status.value) if status else None), doc.rev
        )

    async def get(self, scope: Scope, name: str, missing: ResourceNotFound) -> FunctionRecord:
        """Return the function, or raise ``missing``."""
        if (record := await self.find(scope, name)) is None:
            raise missing
        return record

    async def find_last_generation(self, scope: Scope, name: str) -> int:
        """Return the generation that a deleted function of this name left behind, 0 if nothing is left of it."""
        status = await self._documents.find(function_status_key(scope, name))
        return parse_function_status(status.value).generation if status else 0

    async def create(self, spec: FunctionSpec) -> FunctionRecord:
        """Write a new function. ResourceConflict if the name is taken."""
        try:
            rev = await self._documents.put(spec.key, render_function_spec(spec), expect=ABSENT)
        except Conflict as conflict:
            raise already_exists(spec.name) from conflict
        await self._applied(spec.key, rev)
        return FunctionRecord(spec, joined_status(spec, None), rev)

    async def change(
        self, scope: Scope, name: str, missing: ResourceNotFound, decide: Callable[[FunctionRecord], FunctionSpec]
    ) -> FunctionRecord:
        """Write what ``decide`` makes of the function as it stands; asked again whenever another writer was first."""
        while True:
            record = await self.get(scope, name, missing)
            spec = decide(record)
            try:
                rev = await self._documents.put(spec.key, render_function_spec(spec), expect=record.rev)
            except Conflict:
                continue
            await self._applied(spec.key, rev)
            status = record.status if spec.generation == record.spec.generation else joined_status(spec, record.status)
            return FunctionRecord(spec, status, rev)

    async def delete(self, scope: Scope, name: str, missing: ResourceNotFound) -> None:
        """Delete the function, or raise ``missing``."""
        key = function_spec_key(scope, name)
        if not (rev := await self._documents.delete(key)):
            raise missing
        await self._applied(key, rev)

    async def list(self, scope: Scope, *, after: str, limit: int) -> tuple[list[FunctionRecord], str | None]:
        """Return up to ``limit`` functions by name, from behind ``after``, and the name to go on after."""
        page = await self._documents.list(
            function_specs_prefix(scope), after=function_spec_key(scope, after) if after else "", limit=limit
        )
        records = []
        for doc in page.docs:
            spec = parse_function_spec(doc.value)
            status = await self._documents.find(function_status_key(scope, spec.name))
            joined = joined_status(spec, parse_function_status(status.value) if status else None)
            records.append(FunctionRecord(spec, joined, doc.rev))
        return records, page.next and page.next.rpartition("/")[2]

    async def specs(self, scope: Scope) -> AsyncIterator[FunctionSpec]:
        """Yield every spec of ``scope``."""
        after = ""
        while True:
            page = await self._documents.list(function_specs_prefix(scope), after=after, limit=_BLOCK)
            for doc in page.docs:
                yield parse_function_spec(doc.value)
            if page.next is None:
                return
            after = page.next


def already_exists(name: str) -> ResourceConflict:
    """Return AWS's error for a name that is taken (sic "exist")."""
    return ResourceConflict(f"Function already exist: {name}")


def require_updatable(record: FunctionRecord, revision_id: str | None) -> None:
    """Raise what AWS answers to an update that comes while something is under way, or with an old RevisionId."""
    spec, status = record.spec, record.status
    if status.state is State.PENDING:
        # Seen from AWS by SDK users: the text names state and code.
        raise ResourceConflict(
            f"The operation cannot be performed at this time. The resource {spec.arn} is currently in the following "
            f"state: '{status.state}'. StateReasonCode: '{status.state_reason_code}'"
        )
    if status.last_update_status is UpdateStatus.IN_PROGRESS:
        # Recorded from AWS (2025-11): a second update of code or configuration.
        raise ResourceConflict(
            f"The operation cannot be performed at this time. An update is in progress for resource: {spec.arn}"
        )
    if revision_id is not None and revision_id != status.revision_id:
        raise PreconditionFailed(STALE_REVISION)

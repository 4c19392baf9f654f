"""Who may use how much of an account's concurrency: the stored plan, what it leaves to others, what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from lambent.model.documents import AliasSpec, Document, parse_document, render_document
from lambent.model.ids import RevisionId, Scope

CONCURRENCY_SPECS: Final = "spec/concurrency/"
PROVISIONED_STATUSES: Final = "status/provisioned/"


class Provisioning(StrEnum):
    """``Status`` of provisioned concurrency (service model, ProvisionedConcurrencyStatusEnum)."""

    IN_PROGRESS = "IN_PROGRESS"
    READY = "READY"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionedSpec:
    """``ProvisionedConcurrentExecutions`` of a version or alias; ``revision_id`` names this request of it."""

    requested: int
    last_modified_at: datetime
    revision_id: RevisionId


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrencyPlan:
    """All reserved and provisioned concurrency of one account in one region: one document, so that sums are exact.

    ``reserved`` by function; ``provisioned`` by function and qualifier. Functions with neither are not in it.
    """

    scope: Scope
    reserved: Mapping[str, int] = field(default_factory=dict)
    provisioned: Mapping[str, Mapping[str, ProvisionedSpec]] = field(default_factory=dict)
    unknown: str = field(default="", repr=False)

    @property
    def key(self) -> str:
        """The key of the document that holds this value."""
        return concurrency_key(self.scope)

    def provisioned_of(self, function: str) -> int:
        """Return what all versions and aliases of a function have provisioned."""
        return sum(each.requested for each in self.provisioned.get(function, {}).values())

    def claim_of(self, function: str) -> int:
        """Return what a function takes away from all others: its share, or else what is provisioned for it."""
        # Developer guide, "Understanding reserved and provisioned concurrency": provisioned counts inside a share.
        reserved = self.reserved.get(function)
        return self.provisioned_of(function) if reserved is None else reserved

    def unreserved(self, limit: int) -> int:
        """Return what of ``limit`` is left to functions without a claim."""
        return limit - sum(self.claim_of(function) for function in {*self.reserved, *self.provisioned})

    def with_reserved(self, function: str, amount: int | None) -> "ConcurrencyPlan":
        """Return the plan with another share for a function, or none."""
        rest = {name: each for name, each in self.reserved.items() if name != function}
        return replace(self, reserved=rest if amount is None else {**rest, function: amount})

    def with_provisioned(self, function: str, qualifier: str, spec: ProvisionedSpec | None) -> "ConcurrencyPlan":
        """Return the plan with another amount provisioned for a version or alias, or none."""
        own = {name: each for name, each in self.provisioned.get(function, {}).items() if name != qualifier}
        if spec is not None:
            own[qualifier] = spec
        rest = {name: each for name, each in self.provisioned.items() if name != function}
        return replace(self, provisioned={**rest, function: own} if own else rest)

    def without(self, function: str) -> "ConcurrencyPlan":
        """Return the plan without anything of a function."""
        rest = {name: each for name, each in self.provisioned.items() if name != function}
        return replace(self.with_reserved(function, None), provisioned=rest)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionedStatus:
    """What came of one request for provisioned concurrency, the one that ``revision_id`` names."""

    revision_id: RevisionId
    allocated: int = 0  # environments that are initialised
    available: int = 0  # of them, those that calls go to
    state: Provisioning = Provisioning.IN_PROGRESS
    reason: str | None = None
    unknown: str = field(default="", repr=False)


def decide_shares(requested: int, qualifier: str, alias: AliasSpec | None) -> dict[str, int]:
    """Return how many environments of which version hold ``requested`` for a qualifier, which may be an alias.

    Developer guide, "Configuring provisioned concurrency": with weights, the allocation is split as calls are.
    """
    if alias is None:
        return {qualifier: requested}
    shares = {version: min(requested, round(requested * weight)) for version, weight in alias.weights}
    shares[alias.version] = requested - sum(shares.values())
    return {version: share for version, share in shares.items() if share}


def provisioned_status_key(scope: Scope, function: str, qualifier: str) -> str:
    """Return the key of the status of what is provisioned for a version or alias."""
    return f"{PROVISIONED_STATUSES}{scope.account_id}/{scope.region}/{function}/{qualifier}"


def parse_provisioned_status(value: object) -> ProvisionedStatus:
    """Return the status that a document holds. HostError if its schema is newer than ours or it is damaged."""
    return parse_document(value, ProvisionedStatus)


def joined_provisioned_status(spec: ProvisionedSpec, status: ProvisionedStatus | None) -> ProvisionedStatus:
    """Return what answers say of a request, given the stored status, which may be absent or of an earlier one."""
    if status is None or status.revision_id != spec.revision_id:
        return ProvisionedStatus(revision_id=spec.revision_id)
    return status


def concurrency_key(scope: Scope) -> str:
    """Return the key of the plan of one account in one region."""
    return f"{CONCURRENCY_SPECS}{scope.account_id}/{scope.region}"


def parse_plan(value: object) -> ConcurrencyPlan:
    """Return the plan that a document holds. HostError if its schema is newer than ours or it is damaged."""
    return parse_document(value, ConcurrencyPlan)


def render_plan(plan: ConcurrencyPlan) -> Document:
    """Return the document that holds ``plan``."""
    return render_document(plan)

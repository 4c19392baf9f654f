"""Who may use how much of an account's concurrency: the stored plan, and what it leaves to everybody else."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from lambent.model.documents import Document, parse_document, render_document
from lambent.model.ids import RevisionId, Scope

CONCURRENCY_SPECS: Final = "spec/concurrency/"


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


def concurrency_key(scope: Scope) -> str:
    """Return the key of the plan of one account in one region."""
    return f"{CONCURRENCY_SPECS}{scope.account_id}/{scope.region}"


def parse_plan(value: object) -> ConcurrencyPlan:
    """Return the plan that a document holds. HostError if its schema is newer than ours or it is damaged."""
    return parse_document(value, ConcurrencyPlan)


def render_plan(plan: ConcurrencyPlan) -> Document:
    """Return the document that holds ``plan``."""
    return render_document(plan)

"""Resource policies of functions as stored: one for the function itself, one for each version or alias with any."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lambent.model.documents import Document, parse_document, render_document
from lambent.model.functions import LATEST
from lambent.model.ids import RevisionId, Scope

POLICY_SPECS: Final = "spec/policy/"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySpec:
    """The statements of one qualifier; ``$LATEST`` stands for the function without one.

    The policy belongs to the function that ``first_generation`` names. Without statements there is no document.
    """

    scope: Scope
    function: str
    qualifier: str = LATEST
    first_generation: int
    revision_id: RevisionId
    statements: tuple[Mapping[str, Any], ...] = ()
    unknown: str = field(default="", repr=False)

    @property
    def key(self) -> str:
        """The key of the document that holds this value."""
        return policy_key(self.scope, self.function, self.qualifier)


def policies_prefix(scope: Scope, function: str) -> str:
    """Return the prefix of all policies of a function, its versions and aliases."""
    return f"{POLICY_SPECS}{scope.account_id}/{scope.region}/{function}/"


def policy_key(scope: Scope, function: str, qualifier: str | None) -> str:
    """Return the key of the policy of one qualifier; None: of the function without one."""
    return f"{policies_prefix(scope, function)}{qualifier or LATEST}"


def parse_policy(value: object) -> PolicySpec:
    """Return the policy that a document holds. HostError if its schema is newer than ours or it is damaged."""
    return parse_document(value, PolicySpec)


def render_policy(policy: PolicySpec) -> Document:
    """Return the document that holds ``policy``."""
    return render_document(policy)

"""Who may invoke what: the owner's account, Lambent itself, and whom the function's own policy allows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from lambent.access.policies import AccessRequest, Decision, decide_access
from lambent.model.errors import AccessDenied
from lambent.model.invocations import InvokeCall, Target

ACTION = "lambda:InvokeFunction"


class Authoriser(Protocol):
    """Decides on a call by the unresolved name and qualifier: 403 comes before 404."""

    def authorise(self, call: InvokeCall) -> None:
        """Return, or raise AccessDenied with AWS's words. Memory only."""
        ...


class FunctionPolicies:
    """Lets callers of the function's own account pass, and calls that no door brought (an empty ``caller_arn``).

    Everybody else needs a statement of the policy of exactly what he names: the function, a version, or an alias.
    """

    def __init__(self, find_statements: Callable[[Target], Sequence[Mapping[str, Any]]]) -> None:
        self._find_statements = find_statements

    def authorise(self, call: InvokeCall) -> None:
        """Raise AccessDenied for a caller of another account whom no policy allows it."""
        caller = call.caller_arn
        if not caller or caller.split(":", 5)[4] == call.target.scope.account_id:
            return
        request = AccessRequest(
            principal=caller, action=ACTION, resource=call.target.arn, context=describe_caller(caller, call.target)
        )
        if decide_access(self._find_statements(call.target), request) is Decision.ALLOW:
            return
        # Developer guide, "Troubleshooting invocation": the text for a caller whom no policy of the function names.
        raise AccessDenied(
            f"User: {caller} is not authorized to perform: {ACTION} on resource: {call.target.arn} "
            f"because no resource-based policy allows the {ACTION} action",
            kind=None,
        )


def describe_caller(caller: str, target: Target) -> dict[str, list[str]]:
    """Return the condition keys that are known of a signed call, in lower case."""
    account_id, identity = caller.split(":", 5)[4:]
    known = {
        "aws:principalarn": [caller],
        "aws:principalaccount": [account_id],
        "aws:requestedregion": [target.scope.region],
        "lambda:invokedviafunctionurl": ["false"],
    }
    if identity.startswith("user/"):
        known["aws:username"] = [identity.rpartition("/")[2]]
    return known

"""Who may invoke what, before policies are evaluated: the owner's account, and Lambent itself."""

from typing import Protocol

from lambent.model.errors import AccessDenied
from lambent.model.invocations import InvokeCall


class Authoriser(Protocol):
    """Decides on a call by the unresolved name and qualifier: 403 comes before 404."""

    def authorise(self, call: InvokeCall) -> None:
        """Return, or raise AccessDenied with AWS's words. Memory only."""
        ...


class OwnAccountOnly:
    """Lets callers of the function's own account pass, and calls that no door brought (an empty ``caller_arn``)."""

    def authorise(self, call: InvokeCall) -> None:
        """Raise AccessDenied for a caller of another account."""
        caller = call.caller_arn
        if not caller or caller.split(":", 5)[4] == call.target.scope.account_id:
            return
        # Developer guide, "Troubleshooting invocation": the text for a caller whom no policy of the function names.
        raise AccessDenied(
            f"User: {caller} is not authorized to perform: lambda:InvokeFunction on resource: {call.target.arn} "
            "because no resource-based policy allows the lambda:InvokeFunction action",
            kind=None,
        )

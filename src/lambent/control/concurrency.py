"""Reserved concurrency: a function's share of the account's, as a guarantee and a limit."""

from dataclasses import replace
from typing import Final

from lambent.control.quotas import UNRESERVED_MINIMUM, AccountQuotas
from lambent.control.records import FamilyChange, FunctionRecord, FunctionRecords
from lambent.control.targets import parse_target
from lambent.model.concurrency import ConcurrencyPlan
from lambent.model.errors import InvalidParameterValue
from lambent.model.functions import LATEST
from lambent.model.invocations import Target
from lambent.model.names import function_not_found
from lambent.model.requests import Members, RequestContext

# Recorded from AWS (2025-11), word for word, with its blanks.
_FUNCTIONS_ONLY: Final = (
    "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. "
    "Please specify either a function name or an unqualified function ARN."
)
_BELOW_PROVISIONED: Final = (
    " ReservedConcurrentExecutions  {} should not be lower than function's total provisioned concurrency [{}]."
)
_BELOW_MINIMUM: Final = (
    "Specified {} for function decreases account's UnreservedConcurrentExecution below its minimum value of [{}]."
)


class ConcurrencyCommands:
    """PutFunctionConcurrency, GetFunctionConcurrency, DeleteFunctionConcurrency."""

    def __init__(self, records: FunctionRecords, quotas: AccountQuotas) -> None:
        self._records = records
        self._quotas = quotas

    async def put(self, ctx: RequestContext, members: Members) -> Members:
        """PutFunctionConcurrency."""
        target, amount = (
            _parse_function(ctx, members, "PutFunctionConcurrency"),
            members["ReservedConcurrentExecutions"],
        )
        await self._change(target, amount)
        return {"ReservedConcurrentExecutions": amount}

    async def delete(self, ctx: RequestContext, members: Members) -> Members:
        """DeleteFunctionConcurrency: no error where nothing was reserved."""
        await self._change(_parse_function(ctx, members, "DeleteFunctionConcurrency"), None)
        return {}

    async def get(self, ctx: RequestContext, members: Members) -> Members:
        """GetFunctionConcurrency: nothing where nothing is reserved."""
        target = _parse_function(ctx, members, "GetFunctionConcurrency")
        await self._records.get(ctx.scope, target.name, function_not_found(target))
        plan, _ = await self._records.find_plan(ctx.scope)
        return render_reserved(plan, target.name)

    async def _change(self, target: Target, amount: int | None) -> None:
        def decide_plan(plan: ConcurrencyPlan) -> ConcurrencyPlan:
            changed = plan.with_reserved(target.name, amount)
            require_reservable(plan, changed, target.name, limit=self._quotas.concurrent_executions)
            return changed

        async def decide(current: FunctionRecord) -> tuple[FamilyChange, None]:
            return FamilyChange(current.spec, await self._records.plan_writes(target.scope, decide_plan)), None

        # Recorded from AWS (2025-11): a function that is not there is reported as $LATEST.
        missing = function_not_found(replace(target, qualifier=LATEST))
        await self._records.change_family(target.scope, target.name, missing, decide)


def render_reserved(plan: ConcurrencyPlan, name: str) -> Members:
    """Return the member that tells a function's share; empty where it has none."""
    reserved = plan.reserved.get(name)
    return {} if reserved is None else {"ReservedConcurrentExecutions": reserved}


def require_reservable(before: ConcurrencyPlan, after: ConcurrencyPlan, name: str, *, limit: int) -> None:
    """Raise AWS's error for a share below what is provisioned in it, or one that leaves the others too little."""
    reserved, provisioned = after.reserved.get(name), after.provisioned_of(name)
    if reserved is not None and reserved < provisioned:
        raise InvalidParameterValue(_BELOW_PROVISIONED.format(reserved, provisioned), kind=None)
    require_unreserved(before, after, limit, "ReservedConcurrentExecutions")


def require_unreserved(before: ConcurrencyPlan, after: ConcurrencyPlan, limit: int, member: str) -> None:
    """Raise AWS's error where a change takes of the last 100 that nobody may claim."""
    if after.unreserved(limit) < min(UNRESERVED_MINIMUM, before.unreserved(limit)):
        raise InvalidParameterValue(_BELOW_MINIMUM.format(member, UNRESERVED_MINIMUM), kind=None)


def _parse_function(ctx: RequestContext, members: Members, operation: str) -> Target:
    target = parse_target(ctx, members, operation)
    if target.qualifier is not None:
        raise InvalidParameterValue(_FUNCTIONS_ONLY)
    return target

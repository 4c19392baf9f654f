"""Provisioned concurrency of versions and aliases: asked for here, made true by ``reconcile``."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from lambent.control.aliases import alias_not_found
from lambent.control.concurrency import require_unreserved
from lambent.control.quotas import LIST_PAGE_LIMIT, AccountQuotas
from lambent.control.records import FamilyChange, FunctionRecord, FunctionRecords
from lambent.control.targets import (
    new_revision_id,
    page_limit,
    parse_marker,
    parse_target,
    parse_unqualified,
    render_marker,
)
from lambent.model.clock import Clock
from lambent.model.concurrency import ConcurrencyPlan, ProvisionedSpec, ProvisionedStatus
from lambent.model.documents import FunctionSpec
from lambent.model.errors import InvalidParameterValue, ProvisionedConfigNotFound, ResourceConflict, ResourceNotFound
from lambent.model.functions import LATEST
from lambent.model.invocations import Target
from lambent.model.names import function_not_found, is_alias_name
from lambent.model.requests import Members, RequestContext

# Recorded from AWS (2025-11), word for word.
_UNPUBLISHED: Final = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
_NOT_PUBLISHED: Final = "The function resource provided must be an alias or a published version."
_ALIAS_TAKEN: Final = "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"
_VERSION_TAKEN: Final = "Version is pointed by a Provisioned Concurrency alias"
_OVER_RESERVED: Final = (
    "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function"
)
_OVER_UNRESERVED: Final = (
    "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [{}]."
)


class ProvisionedCommands:
    """PutProvisionedConcurrencyConfig … ListProvisionedConcurrencyConfigs."""

    def __init__(self, records: FunctionRecords, quotas: AccountQuotas, clock: Clock) -> None:
        self._records = records
        self._quotas = quotas
        self._clock = clock

    async def put(self, ctx: RequestContext, members: Members) -> Members:
        """PutProvisionedConcurrencyConfig: accepted, and IN_PROGRESS."""
        target, qualifier = _parse(ctx, members, "PutProvisionedConcurrencyConfig", _UNPUBLISHED)
        spec = ProvisionedSpec(
            requested=members["ProvisionedConcurrentExecutions"],
            last_modified_at=self._clock.now(),
            revision_id=new_revision_id(),
        )

        async def decide(current: FunctionRecord) -> tuple[FamilyChange, None]:
            await self._require_there(current.spec, target)
            before, _ = await self._records.find_plan(ctx.scope)
            await self._require_alone(current.spec, before, qualifier)
            after = before.with_provisioned(target.name, qualifier, spec)
            require_provisionable(before, after, target.name, qualifier, limit=self._quotas.concurrent_executions)
            return await self._change(current, lambda plan: plan.with_provisioned(target.name, qualifier, spec)), None

        await self._records.change_family(ctx.scope, target.name, _missing(target), decide)
        return render_provisioned(spec, ProvisionedStatus(revision_id=spec.revision_id))

    async def get(self, ctx: RequestContext, members: Members) -> Members:
        """GetProvisionedConcurrencyConfig."""
        target, qualifier = _parse(ctx, members, "GetProvisionedConcurrencyConfig", _NOT_PUBLISHED)
        function = await self._records.get(ctx.scope, target.name, _missing(target))
        await self._require_there(function.spec, target)
        plan, _ = await self._records.find_plan(ctx.scope)
        if (spec := plan.provisioned.get(target.name, {}).get(qualifier)) is None:
            raise ProvisionedConfigNotFound
        return render_provisioned(spec, await self._records.find_provisioned(target, spec))

    async def delete(self, ctx: RequestContext, members: Members) -> Members:
        """DeleteProvisionedConcurrencyConfig: no error where nothing is provisioned."""
        target, qualifier = _parse(ctx, members, "DeleteProvisionedConcurrencyConfig", _NOT_PUBLISHED)

        async def decide(current: FunctionRecord) -> tuple[FamilyChange, None]:
            await self._require_there(current.spec, target)
            return await self._change(current, lambda plan: plan.with_provisioned(target.name, qualifier, None)), None

        await self._records.change_family(ctx.scope, target.name, _missing(target), decide)
        return {}

    async def list_configs(self, ctx: RequestContext, members: Members) -> Members:
        """ListProvisionedConcurrencyConfigs by qualifier."""
        target = parse_unqualified(ctx, members, "ListProvisionedConcurrencyConfigs")
        await self._records.get(ctx.scope, target.name, function_not_found(target))
        plan, _ = await self._records.find_plan(ctx.scope)
        after, limit = parse_marker(members.get("Marker") or None), page_limit(members, LIST_PAGE_LIMIT)
        found = sorted(each for each in plan.provisioned.get(target.name, {}).items() if each[0] > after)
        entries = []
        for qualifier, spec in found[:limit]:
            place = Target(ctx.scope, target.name, qualifier)
            status = await self._records.find_provisioned(place, spec)
            entries.append({"FunctionArn": place.arn, **render_provisioned(spec, status)})
        answer: Members = {"ProvisionedConcurrencyConfigs": entries}
        return {**answer, "NextMarker": render_marker(found[limit - 1][0])} if len(found) > limit else answer

    async def _change(
        self, current: FunctionRecord, decide: Callable[[ConcurrencyPlan], ConcurrencyPlan]
    ) -> FamilyChange:
        return FamilyChange(current.spec, await self._records.plan_writes(current.spec.scope, decide))

    async def _require_there(self, function: FunctionSpec, target: Target) -> None:
        if await self._records.find_qualified(function, str(target.qualifier)) is None:
            raise _missing(target)

    async def _require_alone(self, function: FunctionSpec, plan: ConcurrencyPlan, qualifier: str) -> None:
        """Raise AWS's error for a version that is provisioned already, by itself or through another alias."""
        others = {name for name in plan.provisioned.get(function.name, {}) if name != qualifier}
        aliases = {alias.name: alias for alias in await self._records.aliases(function)}
        through = {version for name in others if name in aliases for version in aliases[name].versions}
        if qualifier in aliases:
            if not through.isdisjoint(aliases[qualifier].versions) or not others.isdisjoint(
                aliases[qualifier].versions
            ):
                raise ResourceConflict(_ALIAS_TAKEN)
        elif qualifier in through:
            raise ResourceConflict(_VERSION_TAKEN)


def require_provisionable(
    before: ConcurrencyPlan, after: ConcurrencyPlan, function: str, qualifier: str, *, limit: int
) -> None:
    """Raise AWS's error for more than the function's share, or the account, has for it."""
    reserved = after.reserved.get(function)
    if reserved is not None:
        if after.provisioned_of(function) > reserved:
            raise InvalidParameterValue(_OVER_RESERVED)
        return
    free = before.with_provisioned(function, qualifier, None).unreserved(limit)
    if after.provisioned[function][qualifier].requested > free:
        raise InvalidParameterValue(_OVER_UNRESERVED.format(free), kind=None)
    require_unreserved(before, after, limit, "ConcurrentExecutions")


def render_provisioned(spec: ProvisionedSpec, status: ProvisionedStatus) -> Members:
    """Return the members that tell of a request and what came of it."""
    answer: Members = {
        "RequestedProvisionedConcurrentExecutions": spec.requested,
        "AvailableProvisionedConcurrentExecutions": status.available,
        "AllocatedProvisionedConcurrentExecutions": status.allocated,
        "Status": str(status.state),
        "LastModified": render_time(spec.last_modified_at),
    }
    return answer if status.reason is None else {**answer, "StatusReason": status.reason}


def render_time(at: datetime) -> str:
    """Return AWS's form here, 2023-01-21T11:30:00+0000."""
    return f"{at:%Y-%m-%dT%H:%M:%S}+0000"


def _parse(ctx: RequestContext, members: Members, operation: str, unpublished: str) -> tuple[Target, str]:
    target = parse_target(ctx, members, operation)
    if target.qualifier is None or target.qualifier.startswith(LATEST):
        raise InvalidParameterValue(unpublished)
    return target, target.qualifier


def _missing(target: Target) -> ResourceNotFound:
    return alias_not_found(target) if is_alias_name(str(target.qualifier)) else function_not_found(target)

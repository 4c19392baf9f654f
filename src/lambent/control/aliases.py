"""Aliases: names for a version, or for two with a share of the calls for the second."""

from collections.abc import Mapping
from dataclasses import replace

from lambent.control.quotas import LIST_PAGE_LIMIT
from lambent.control.records import (
    STALE_REVISION,
    FamilyChange,
    FunctionRecord,
    FunctionRecords,
    require_not_pending,
)
from lambent.control.targets import new_revision_id, page_limit, parse_marker, parse_unqualified, render_marker
from lambent.model.documents import AliasSpec, FunctionSpec, alias_key, render_alias
from lambent.model.errors import InvalidParameterValue, PreconditionFailed, ResourceConflict, ResourceNotFound
from lambent.model.functions import LATEST
from lambent.model.invocations import Target
from lambent.model.names import function_not_found
from lambent.model.policies import policy_key
from lambent.model.requests import Members, RequestContext
from lambent.store.contract import Delete, Put

Weights = tuple[tuple[str, float], ...]


class AliasCommands:
    """CreateAlias … ListAliases."""

    def __init__(self, records: FunctionRecords) -> None:
        self._records = records

    async def create(self, ctx: RequestContext, members: Members) -> Members:
        """CreateAlias."""
        target = parse_unqualified(ctx, members, "CreateAlias")

        async def decide(current: FunctionRecord) -> tuple[FamilyChange, AliasSpec]:
            alias = AliasSpec(
                scope=ctx.scope,
                function=target.name,
                name=members["Name"],
                first_generation=current.spec.first_generation,
                version=members["FunctionVersion"],
                description=members.get("Description") or "",
                weights=_parse_weights(members) or (),
                revision_id=new_revision_id(),
            )
            await self._require_versions(current.spec, alias)
            if await self._records.find_alias(current.spec, alias.name) is not None:
                raise ResourceConflict(f"Alias already exists: {alias.arn}")
            require_not_pending(current)
            return _written(current, alias), alias

        missing = function_not_found(replace(target, qualifier=members["FunctionVersion"]))
        return render_answer(await self._records.change_family(ctx.scope, target.name, missing, decide))

    async def update(self, ctx: RequestContext, members: Members) -> Members:
        """UpdateAlias: members left out stay as they are; empty weights take them away."""
        target, name = parse_unqualified(ctx, members, "UpdateAlias"), members["Name"]
        # Recorded from AWS (2025-11).
        missing = ResourceNotFound(f"Alias not found: {replace(target, qualifier=name).arn}")

        async def decide(current: FunctionRecord) -> tuple[FamilyChange, AliasSpec]:
            alias = await self._get(current.spec, name, members, missing)
            weights = _parse_weights(members)
            alias = replace(
                alias,
                version=members.get("FunctionVersion") or alias.version,
                description=alias.description if members.get("Description") is None else members["Description"],
                weights=alias.weights if weights is None else weights,
                revision_id=new_revision_id(),
            )
            await self._require_versions(current.spec, alias)
            require_not_pending(current)
            return _written(current, alias), alias

        return render_answer(await self._records.change_family(ctx.scope, target.name, missing, decide))

    async def get(self, ctx: RequestContext, members: Members) -> Members:
        """GetAlias."""
        target, name = parse_unqualified(ctx, members, "GetAlias"), members["Name"]
        missing = alias_not_found(replace(target, qualifier=name))
        function = await self._records.get(ctx.scope, target.name, missing)
        return render_answer(await self._get(function.spec, name, {}, missing))

    async def delete(self, ctx: RequestContext, members: Members) -> Members:
        """DeleteAlias. Recorded from AWS (2025-11): one that is not there is no error, if the function is."""
        target, name = parse_unqualified(ctx, members, "DeleteAlias"), members["Name"]

        async def decide(current: FunctionRecord) -> tuple[FamilyChange, None]:
            # Recorded from AWS (2025-11): what is provisioned for an alias goes with it; its policy is assumed to.
            plan = await self._records.plan_writes(
                ctx.scope, lambda plan: plan.with_provisioned(target.name, name, None)
            )
            gone = (alias_key(ctx.scope, target.name, name), policy_key(ctx.scope, target.name, name))
            return FamilyChange(current.spec, (*map(Delete, gone), *plan)), None

        await self._records.change_family(ctx.scope, target.name, function_not_found(target), decide)
        return {}

    async def list_aliases(self, ctx: RequestContext, members: Members) -> Members:
        """ListAliases by name; with FunctionVersion, those that may run it."""
        target = parse_unqualified(ctx, members, "ListAliases")
        function = await self._records.get(ctx.scope, target.name, function_not_found(target))
        after, limit = parse_marker(members.get("Marker") or None), page_limit(members, LIST_PAGE_LIMIT)
        wanted = members.get("FunctionVersion")
        found = [
            alias
            for alias in await self._records.aliases(function.spec)
            if alias.name > after and (wanted is None or wanted in alias.versions)
        ]
        answer: Members = {"Aliases": [render_answer(alias) for alias in found[:limit]]}
        return {**answer, "NextMarker": render_marker(found[limit - 1].name)} if len(found) > limit else answer

    async def _get(self, function: FunctionSpec, name: str, members: Members, missing: ResourceNotFound) -> AliasSpec:
        found = await self._records.find_alias(function, name)
        if found is None:
            raise missing
        if members.get("RevisionId") not in (None, found.revision_id):
            raise PreconditionFailed(STALE_REVISION)
        return found

    async def _require_versions(self, function: FunctionSpec, alias: AliasSpec) -> None:
        """Raise AWS's error unless the alias names versions that are there and go together."""
        specs = []
        for version in alias.versions:
            record = await self._records.find_qualified(function, version)
            if record is None:
                raise function_not_found(Target(function.scope, function.name, version))
            specs.append(record.spec)
            _require_weightable(alias)
        # Developer guide, "Alias routing configuration": same execution role, same dead-letter setting; the words
        # are assumed.
        if len({(spec.role, spec.dead_letter_target) for spec in specs}) > 1:
            raise InvalidParameterValue(
                "All versions of an alias must have the same execution role and the same dead-letter queue"
            )


def alias_not_found(target: Target) -> ResourceNotFound:
    """Return AWS's error for an alias that is looked up by its ARN."""
    return ResourceNotFound(f"Cannot find alias arn: {target.arn}")


def render_answer(alias: AliasSpec) -> Members:
    """Return AliasConfiguration; without weights it has no RoutingConfig."""
    answer: Members = {
        "AliasArn": alias.arn,
        "Name": alias.name,
        "FunctionVersion": alias.version,
        "Description": alias.description,
        "RevisionId": alias.revision_id,
    }
    if alias.weights:
        answer["RoutingConfig"] = {"AdditionalVersionWeights": dict(alias.weights)}
    return answer


def _written(current: FunctionRecord, alias: AliasSpec) -> FamilyChange:
    return FamilyChange(current.spec, (Put(alias.key, render_alias(alias)),))


def _parse_weights(members: Members) -> Weights | None:
    """Return the weights that the caller wants, None where he says nothing of them."""
    if (routing := members.get("RoutingConfig")) is None:
        return None
    weights: Mapping[str, float] = routing.get("AdditionalVersionWeights") or {}
    if len(weights) > 1:
        # Recorded from AWS (2025-11).
        raise InvalidParameterValue("Number of items in AdditionalVersionWeights cannot be greater than 1")
    return tuple(weights.items())


def _require_weightable(alias: AliasSpec) -> None:
    """Recorded from AWS (2025-11), in this order: the version itself, then $LATEST."""
    if not alias.weights:
        return
    if alias.weights[0][0] == alias.version:
        raise InvalidParameterValue(
            f"Invalid function version {alias.version}. "
            f"Function version {alias.version} is already included in routing configuration."
        )
    if alias.version == LATEST:
        raise InvalidParameterValue(f"{LATEST} is not supported for an alias pointing to more than 1 version")

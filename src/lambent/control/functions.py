"""Commands on functions: validate, write a spec, answer with spec and status joined."""

from dataclasses import replace

from lambent.control.answers import Answers
from lambent.control.code import CodeSource
from lambent.control.concurrency import render_reserved
from lambent.control.configuration import ConfigurationRules, SpecFields
from lambent.control.records import (
    FamilyChange,
    FunctionRecord,
    FunctionRecords,
    already_exists,
    joined_after,
    require_updatable,
)
from lambent.control.tags import parse_tags
from lambent.control.targets import new_revision_id, parse_target, parse_unqualified
from lambent.control.variables import VariableVault, parse_variables
from lambent.control.versions import VersionCommands, new_version, require_no_snapshots
from lambent.model.clock import Clock
from lambent.model.documents import CodeSpec, FunctionSpec, joined_status, render_function_spec
from lambent.model.errors import InvalidParameterValue, ResourceConflict
from lambent.model.functions import LATEST
from lambent.model.invocations import Target
from lambent.model.names import MISMATCH, function_not_found, is_alias_name, is_latest
from lambent.model.policies import policy_key
from lambent.model.requests import Members, RequestContext
from lambent.store.contract import Delete, Put


class FunctionCommands:
    """CreateFunction … DeleteFunction."""

    def __init__(
        self,
        records: FunctionRecords,
        code: CodeSource,
        vault: VariableVault,
        rules: ConfigurationRules,
        answers: Answers,
        versions: VersionCommands,
        clock: Clock,
    ) -> None:
        self._records = records
        self._code = code
        self._vault = vault
        self._rules = rules
        self._answers = answers
        self._versions = versions
        self._clock = clock

    async def create(self, ctx: RequestContext, members: Members) -> Members:
        """CreateFunction: everything is checked and the package durable before the document is written."""
        target = parse_target(ctx, members, "CreateFunction")
        if not is_latest(target):
            raise InvalidParameterValue(MISMATCH)
        fields = self._rules.parse_creation(members, target.name)
        fields |= self._seal(members, target)
        fields["tags"] = parse_tags(members.get("Tags") or {})
        if await self._records.find(ctx.scope, target.name) is not None:
            raise already_exists(target.name)
        code = await self._code.take(members["Code"], ctx.scope)
        last = await self._records.find_last_generation(ctx.scope, target.name)
        spec = self._new_spec(target, fields, code, last)
        if members.get("Publish"):
            return await self._create_published(spec)
        return self._answers.configuration(await self._records.create(spec))

    async def _create_published(self, spec: FunctionSpec) -> Members:
        """Recorded from AWS: what is answered is version 1, Pending as the function is, under the unqualified ARN."""
        require_no_snapshots(spec)
        version = new_version(spec, None, was_live=False)
        await self._records.create(replace(spec, last_version=1), Put(version.key, render_function_spec(version)))
        return self._answers.configuration(FunctionRecord(version, joined_status(version, None), 0))

    async def get(self, ctx: RequestContext, members: Members) -> Members:
        """GetFunction, of ``$LATEST``, a version, or the version that an alias names."""
        target = parse_target(ctx, members, "GetFunction")
        record = await self._records.get_target(target)
        answer = self._answers.function(ctx, record, qualifier=target.qualifier)
        plan, _ = await self._records.find_plan(ctx.scope)
        # Recorded from AWS (2025-11): without a share there is no member Concurrency.
        share = render_reserved(plan, target.name)
        return {**answer, "Concurrency": share} if share else answer

    async def get_configuration(self, ctx: RequestContext, members: Members) -> Members:
        """GetFunctionConfiguration, likewise."""
        target = parse_target(ctx, members, "GetFunctionConfiguration")
        return self._answers.configuration(await self._records.get_target(target), qualifier=target.qualifier)

    async def update_code(self, ctx: RequestContext, members: Members) -> Members:
        """UpdateFunctionCode. A dry run checks all, stores no document and answers what would be."""
        target = parse_unqualified(ctx, members, "UpdateFunctionCode")
        record = await self._records.get(ctx.scope, target.name, function_not_found(target))
        if members.get("ImageUri"):
            raise InvalidParameterValue("Please don't provide ImageUri when updating a function with packageType Zip.")
        if members.get("Architectures"):
            self._rules.parse_architectures(members)
        self._rules.require_updatable(record.spec.runtime)
        require_updatable(record, members.get("RevisionId"))
        if members.get("Publish"):
            require_no_snapshots(record.spec)
        code = await self._code.take(members, ctx.scope)
        if members.get("DryRun"):
            return self._answers.configuration(replace(record, spec=replace(record.spec, code=code)))
        return await self._deploy(ctx, members, target, code)

    async def _deploy(self, ctx: RequestContext, members: Members, target: Target, code: CodeSpec) -> Members:
        async def decide(current: FunctionRecord) -> tuple[FamilyChange, FunctionRecord]:
            require_updatable(current, members.get("RevisionId"))
            spec = self._next_spec(current.spec, {"code": code})
            if members.get("Publish"):
                require_no_snapshots(spec)
                return await self._versions.publish_into(current, spec)
            return FamilyChange(spec), FunctionRecord(spec, joined_after(spec, current), current.rev)

        changed = await self._records.change_family(ctx.scope, target.name, function_not_found(target), decide)
        # Recorded from AWS (2025-11): with Publish the version is answered, under its own ARN.
        qualifier = None if changed.spec.publication is None else changed.spec.version
        return self._answers.configuration(changed, qualifier=qualifier)

    async def update_configuration(self, ctx: RequestContext, members: Members) -> Members:
        """UpdateFunctionConfiguration: members left out stay as they are."""
        target = parse_unqualified(ctx, members, "UpdateFunctionConfiguration")
        sealed = self._seal(members, target)

        def decide(current: FunctionRecord) -> FunctionSpec:
            fields = self._rules.parse_update(members, current.spec)
            require_updatable(current, members.get("RevisionId"))
            return self._next_spec(current.spec, fields | sealed)

        missing = function_not_found(target)
        return self._answers.configuration(await self._records.change(ctx.scope, target.name, missing, decide))

    async def delete(self, ctx: RequestContext, members: Members) -> Members:
        """DeleteFunction: the whole function, or one version that no alias names."""
        target = parse_target(ctx, members, "DeleteFunction")
        missing = function_not_found(replace(target, qualifier=None))
        if target.qualifier == LATEST:
            raise InvalidParameterValue("$LATEST version cannot be deleted without deleting the function.")
        if target.qualifier is not None and is_alias_name(target.qualifier):
            raise InvalidParameterValue("Deletion of aliases is not currently supported.")
        if target.qualifier is None:
            await self._records.delete(ctx.scope, target.name, missing)
        else:
            await self._delete_version(target, target.qualifier)
        return {"StatusCode": 204}

    async def _delete_version(self, target: Target, number: str) -> None:
        """Recorded from AWS (2025-11): a version that is not there is no error, if the function is."""

        async def decide(current: FunctionRecord) -> tuple[FamilyChange, None]:
            version = await self._records.find_qualified(current.spec, number)
            if version is None:
                return FamilyChange(current.spec), None
            aliases = await self._records.aliases(current.spec)
            if used_by := [alias.name for alias in aliases if number in alias.versions]:
                # Seen from AWS by users of several deployment tools.
                raise ResourceConflict(
                    f"Unable to delete version because the following aliases reference it: [{', '.join(used_by)}]"
                )
            plan = await self._records.plan_writes(
                target.scope, lambda plan: plan.with_provisioned(target.name, number, None)
            )
            gone = (version.spec.key, policy_key(target.scope, target.name, number))
            return FamilyChange(current.spec, (*map(Delete, gone), *plan)), None

        missing = function_not_found(replace(target, qualifier=None))
        await self._records.change_family(target.scope, target.name, missing, decide)

    def _seal(self, members: Members, target: Target) -> SpecFields:
        if members.get("Environment") is None:
            return {}
        variables = parse_variables(members["Environment"])
        return {"sealed_environment": self._vault.seal(variables, target.scope, target.name)}

    def _new_spec(self, target: Target, fields: SpecFields, code: CodeSpec, last: int) -> FunctionSpec:
        now = self._clock.now()
        # Microseconds of the clock, so that a function that was deleted and made again is another one.
        first = max(int(now.timestamp() * 1_000_000), last + 1)
        return FunctionSpec(
            scope=target.scope,
            name=target.name,
            generation=first,
            first_generation=first,
            revision_id=new_revision_id(),
            last_modified_at=now,
            code=code,
            **fields,
        )

    def _next_spec(self, spec: FunctionSpec, fields: SpecFields) -> FunctionSpec:
        return replace(
            spec,
            generation=spec.generation + 1,
            revision_id=new_revision_id(),
            touched_revision_id=None,
            last_modified_at=self._clock.now(),
            **fields,
        )

"""Commands on functions: validate, write a spec, answer with spec and status joined."""

import base64
import binascii
import re
import uuid
from dataclasses import replace
from typing import Final

from lambent.control.answers import Answers
from lambent.control.built import require_built
from lambent.control.code import CodeSource
from lambent.control.configuration import ConfigurationRules, SpecFields, require_known_groups
from lambent.control.quotas import LIST_PAGE_LIMIT
from lambent.control.records import FunctionRecord, FunctionRecords, already_exists, require_updatable
from lambent.control.tags import parse_tags
from lambent.control.variables import VariableVault, parse_variables
from lambent.model.clock import Clock
from lambent.model.documents import CodeSpec, FunctionSpec
from lambent.model.errors import InvalidParameterValue
from lambent.model.functions import LATEST
from lambent.model.ids import RevisionId
from lambent.model.invocations import Target
from lambent.model.names import MISMATCH, function_not_found, is_alias_name, is_latest, parse_function_reference
from lambent.model.requests import Members, RequestContext

_NAME: Final = re.compile(r"[a-zA-Z0-9-_]{1,64}")


class FunctionCommands:
    """CreateFunction … ListFunctions."""

    def __init__(
        self,
        records: FunctionRecords,
        code: CodeSource,
        vault: VariableVault,
        rules: ConfigurationRules,
        answers: Answers,
        clock: Clock,
    ) -> None:
        self._records = records
        self._code = code
        self._vault = vault
        self._rules = rules
        self._answers = answers
        self._clock = clock

    async def create(self, ctx: RequestContext, members: Members) -> Members:
        """CreateFunction: everything is checked and the package durable before the document is written."""
        target = _target(ctx, members, "CreateFunction")
        if not is_latest(target):
            raise InvalidParameterValue(MISMATCH)
        fields = self._rules.parse_creation(members, target.name)
        fields |= self._seal(members, target)
        fields["tags"] = parse_tags(members.get("Tags") or {})
        if await self._records.find(ctx.scope, target.name) is not None:
            raise already_exists(target.name)
        code = await self._code.take(members["Code"], ctx.scope)
        last = await self._records.find_last_generation(ctx.scope, target.name)
        record = await self._records.create(self._new_spec(target, fields, code, last))
        return self._answers.configuration(record)

    async def get(self, ctx: RequestContext, members: Members) -> Members:
        """GetFunction."""
        target, record = await self._read(ctx, members, "GetFunction")
        return self._answers.function(ctx, record, is_qualified=target.qualifier is not None)

    async def get_configuration(self, ctx: RequestContext, members: Members) -> Members:
        """GetFunctionConfiguration."""
        target, record = await self._read(ctx, members, "GetFunctionConfiguration")
        return self._answers.configuration(record, is_qualified=target.qualifier is not None)

    async def update_code(self, ctx: RequestContext, members: Members) -> Members:
        """UpdateFunctionCode. A dry run checks all, stores no document and answers what would be."""
        target, record = await self._read(ctx, members, "UpdateFunctionCode")
        if members.get("ImageUri"):
            raise InvalidParameterValue("Please don't provide ImageUri when updating a function with packageType Zip.")
        if members.get("Architectures"):
            self._rules.parse_architectures(members)
        self._rules.require_updatable(record.spec.runtime)
        require_updatable(record, members.get("RevisionId"))
        code = await self._code.take(members, ctx.scope)
        if members.get("DryRun"):
            return self._answers.configuration(replace(record, spec=replace(record.spec, code=code)))

        def decide(current: FunctionRecord) -> FunctionSpec:
            require_updatable(current, members.get("RevisionId"))
            return self._next_spec(current.spec, {"code": code})

        missing = function_not_found(target)
        return self._answers.configuration(await self._records.change(ctx.scope, target.name, missing, decide))

    async def update_configuration(self, ctx: RequestContext, members: Members) -> Members:
        """UpdateFunctionConfiguration: members left out stay as they are."""
        target, _ = await self._read(ctx, members, "UpdateFunctionConfiguration")
        sealed = self._seal(members, target)

        def decide(current: FunctionRecord) -> FunctionSpec:
            fields = self._rules.parse_update(members, current.spec)
            require_updatable(current, members.get("RevisionId"))
            return self._next_spec(current.spec, fields | sealed)

        missing = function_not_found(target)
        return self._answers.configuration(await self._records.change(ctx.scope, target.name, missing, decide))

    async def delete(self, ctx: RequestContext, members: Members) -> Members:
        """DeleteFunction. Recorded from AWS (2025-11): a version that is not there is no error, if the function is."""
        target = _target(ctx, members, "DeleteFunction")
        missing = function_not_found(replace(target, qualifier=None))
        if target.qualifier == LATEST:
            raise InvalidParameterValue("$LATEST version cannot be deleted without deleting the function.")
        if target.qualifier is not None and is_alias_name(target.qualifier):
            raise InvalidParameterValue("Deletion of aliases is not currently supported.")
        if target.qualifier is None:
            await self._records.delete(ctx.scope, target.name, missing)
        else:
            await self._records.get(ctx.scope, target.name, missing)
        return {"StatusCode": 204}

    async def list(self, ctx: RequestContext, members: Members) -> Members:
        """ListFunctions: at most 50 a page. ``ALL`` means all versions, of which ``$LATEST`` is built."""
        require_built("ListFunctions", members)
        limit = min(members.get("MaxItems") or LIST_PAGE_LIMIT, LIST_PAGE_LIMIT)
        after = parse_marker(members["Marker"]) if members.get("Marker") else ""
        records, following = await self._records.list(ctx.scope, after=after, limit=limit)
        is_qualified = members.get("FunctionVersion") == "ALL"
        answer: Members = {"Functions": [self._answers.entry(record, is_qualified=is_qualified) for record in records]}
        return {**answer, "NextMarker": render_marker(following)} if following else answer

    async def _read(self, ctx: RequestContext, members: Members, operation: str) -> tuple[Target, FunctionRecord]:
        target = _target(ctx, members, operation)
        missing = function_not_found(target)
        if not is_latest(target):
            raise missing  # neither versions nor aliases are built, so none of them is there
        return target, await self._records.get(ctx.scope, target.name, missing)

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
            last_modified_at=self._clock.now(),
            **fields,
        )


def new_revision_id() -> RevisionId:
    """Return a RevisionId that nobody has."""
    return RevisionId(str(uuid.uuid4()))


def render_marker(name: str) -> str:
    """Return the opaque NextMarker of a page that ended with ``name``."""
    return base64.urlsafe_b64encode(name.encode()).decode()


def parse_marker(marker: str) -> str:
    """Return the name after which a list goes on. InvalidParameterValue for what is no marker of ours."""
    try:
        name = base64.b64decode(marker.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError) as error:
        raise InvalidParameterValue("Invalid marker.") from error
    if not _NAME.fullmatch(name):
        raise InvalidParameterValue("Invalid marker.")
    return name


def _target(ctx: RequestContext, members: Members, operation: str) -> Target:
    """Return which function is meant; refuse members that do not act here."""
    target = parse_function_reference(
        members["FunctionName"], members.get("Qualifier"), ctx.scope, operation, caller_arn=ctx.caller.arn
    )
    require_known_groups(members)
    require_built(operation, members)
    return target

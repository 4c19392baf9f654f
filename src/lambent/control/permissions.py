"""AddPermission, RemovePermission, GetPolicy: statements of resource policies, in exactly AWS's shapes."""

import json
import re
from dataclasses import replace
from typing import Any, Final

from lambent.control.aliases import alias_not_found
from lambent.control.quotas import POLICY_LIMIT_BYTES
from lambent.control.records import STALE_REVISION, FamilyChange, FunctionRecord, FunctionRecords, Write
from lambent.control.targets import new_revision_id, parse_target
from lambent.model.documents import render_alias
from lambent.model.errors import (
    InvalidParameterValue,
    PolicyLengthExceeded,
    PreconditionFailed,
    ResourceConflict,
    ResourceNotFound,
)
from lambent.model.functions import LATEST
from lambent.model.ids import RevisionId
from lambent.model.invocations import Target
from lambent.model.names import function_not_found, is_alias_name
from lambent.model.policies import PolicySpec, render_policy
from lambent.model.requests import Members, RequestContext
from lambent.store.contract import Delete, Put

# Recorded from AWS (2025-11), word for word.
_STALE: Final = (
    "The Revision Id provided does not match the latest Revision Id. "
    "Call the GetPolicy API to retrieve the latest Revision Id"
)
_ON_LATEST: Final = "We currently do not support adding policies for $LATEST."
_NO_PRINCIPAL: Final = "The provided principal was invalid. Please check the principal and try again."
_NOTHING: Final = "The resource you requested does not exist."
_NO_POLICY: Final = "No policy is associated with the given resource."
# Member → operator and condition key of the statement.
_CONDITIONS: Final = (
    ("SourceArn", "ArnLike", "AWS:SourceArn"),
    ("SourceAccount", "StringEquals", "AWS:SourceAccount"),
    ("PrincipalOrgID", "StringEquals", "aws:PrincipalOrgID"),
    ("EventSourceToken", "StringEquals", "lambda:EventSourceToken"),
    ("FunctionUrlAuthType", "StringEquals", "lambda:FunctionUrlAuthType"),
)


class PermissionCommands:
    """Permissions of functions, versions and aliases; each qualifier has a policy of its own."""

    def __init__(self, records: FunctionRecords) -> None:
        self._records = records

    async def add(self, ctx: RequestContext, members: Members) -> Members:
        """AddPermission."""
        target = parse_target(ctx, members, "AddPermission")
        if target.qualifier is not None and target.qualifier.startswith(LATEST):
            raise InvalidParameterValue(_ON_LATEST)
        statement = render_statement(members, target)

        async def decide(current: FunctionRecord) -> tuple[FamilyChange, None]:
            policy = await self._find_or_new(current, target)
            await self._require_revision(current, policy, members, _STALE)
            if any(each["Sid"] == statement["Sid"] for each in policy.statements):
                raise ResourceConflict(
                    f"The statement id ({statement['Sid']}) provided already exists. "
                    "Please provide a new statement id, or remove the existing statement."
                )
            changed = replace(policy, statements=(*policy.statements, statement))
            _require_size(changed)
            return await self._write(current, changed), None

        await self._records.change_family(ctx.scope, target.name, _missing(target), decide)
        return {"Statement": _json(statement)}

    async def remove(self, ctx: RequestContext, members: Members) -> Members:
        """RemovePermission; with the last statement the policy goes."""
        target, sid = parse_target(ctx, members, "RemovePermission"), members["StatementId"]

        async def decide(current: FunctionRecord) -> tuple[FamilyChange, None]:
            policy = await self._records.find_policy(current.spec, target.qualifier)
            if policy is None:
                raise ResourceNotFound(_NO_POLICY)
            kept = tuple(each for each in policy.statements if each["Sid"] != sid)
            if len(kept) == len(policy.statements):
                raise ResourceNotFound(f"Statement {sid} is not found in resource policy.")
            await self._require_revision(current, policy, members, STALE_REVISION)
            return await self._write(current, replace(policy, statements=kept)), None

        missing = ResourceNotFound(f"No policy found for: {target.arn}")
        await self._records.change_family(ctx.scope, target.name, missing, decide)
        return {}

    async def get(self, ctx: RequestContext, members: Members) -> Members:
        """GetPolicy."""
        target, missing = parse_target(ctx, members, "GetPolicy"), ResourceNotFound(_NOTHING)
        function = await self._records.get(ctx.scope, target.name, missing)
        policy = await self._records.find_policy(function.spec, target.qualifier)
        if policy is None:
            raise missing
        return {"Policy": render_policy_text(policy), "RevisionId": policy.revision_id}

    async def _find_or_new(self, current: FunctionRecord, target: Target) -> PolicySpec:
        if target.qualifier is not None and await self._records.find_qualified(current.spec, target.qualifier) is None:
            raise _missing(target)
        return await self._records.find_policy(current.spec, target.qualifier) or PolicySpec(
            scope=target.scope,
            function=target.name,
            qualifier=target.qualifier or LATEST,
            first_generation=current.spec.first_generation,
            revision_id=new_revision_id(),
        )

    async def _require_revision(
        self, current: FunctionRecord, policy: PolicySpec, members: Members, stale: str
    ) -> None:
        sent = members.get("RevisionId")
        if sent is not None and sent not in (policy.revision_id, await self._revision_of(current, policy.qualifier)):
            raise PreconditionFailed(stale)

    async def _revision_of(self, current: FunctionRecord, qualifier: str) -> RevisionId:
        """Return the RevisionId of what the policy is for."""
        if qualifier == LATEST:
            return current.status.revision_id
        if is_alias_name(qualifier):
            alias = await self._records.find_alias(current.spec, qualifier)
            return alias.revision_id if alias is not None else current.status.revision_id
        version = await self._records.find_qualified(current.spec, qualifier)
        return (version or current).status.revision_id

    async def _write(self, current: FunctionRecord, policy: PolicySpec) -> FamilyChange:
        """Policy and function, or alias, change under one RevisionId; a version never changes."""
        policy = replace(policy, revision_id=new_revision_id())
        writes: list[Write] = [Put(policy.key, render_policy(policy)) if policy.statements else Delete(policy.key)]
        spec = current.spec
        if policy.qualifier == LATEST:
            spec = replace(spec, touched_revision_id=policy.revision_id)
        elif (alias := await self._records.find_alias(spec, policy.qualifier)) is not None:
            alias = replace(alias, revision_id=policy.revision_id)
            writes.append(Put(alias.key, render_alias(alias)))
        return FamilyChange(spec, tuple(writes))


def render_statement(members: Members, target: Target) -> dict[str, Any]:
    """Return the statement that AddPermission's members make."""
    statement: dict[str, Any] = {
        "Sid": members["StatementId"],
        "Effect": "Allow",
        "Principal": parse_principal(members["Principal"], target),
        "Action": members["Action"],
        "Resource": str(target.arn),
    }
    condition: dict[str, dict[str, str]] = {}
    for member, operator, key in _CONDITIONS:
        if members.get(member):
            condition.setdefault(operator, {})[key] = members[member]
    if members.get("InvokedViaFunctionUrl") is not None:
        # Developer guide, "Control access to Lambda function URLs".
        said = "true" if members["InvokedViaFunctionUrl"] else "false"
        condition["Bool"] = {"lambda:InvokedViaFunctionUrl": said}
    return {**statement, "Condition": condition} if condition else statement


def parse_principal(text: str, target: Target) -> str | dict[str, str]:
    """Return the element Principal: everyone, an account, an identity of IAM, or a service."""
    if text == "*":
        return text
    if re.fullmatch(r"\d{12}", text):
        return {"AWS": f"arn:{target.scope.partition}:iam::{text}:root"}
    if re.fullmatch(r"arn:aws[a-z-]*:(iam|sts)::\d{12}:.+", text):
        return {"AWS": text}
    if re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", text):
        return {"Service": text}
    raise InvalidParameterValue(_NO_PRINCIPAL)


def render_policy_text(policy: PolicySpec) -> str:
    """Return the whole policy as GetPolicy shows it."""
    return _json({"Version": "2012-10-17", "Id": "default", "Statement": list(policy.statements)})


def _require_size(policy: PolicySpec) -> None:
    size = len(render_policy_text(policy).encode())
    if size > POLICY_LIMIT_BYTES:
        # Seen from AWS by SDK users.
        raise PolicyLengthExceeded(f"The final policy size ({size}) is bigger than the limit ({POLICY_LIMIT_BYTES}).")


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _missing(target: Target) -> ResourceNotFound:
    return alias_not_found(target) if is_alias_name(target.qualifier or "") else function_not_found(target)

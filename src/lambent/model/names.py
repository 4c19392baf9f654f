"""Names of functions and other resources as callers write them: parsed once, at the edge, with AWS's answers.

The service model's own constraints (pattern, lengths) are checked before by ``wire``; here is what remains after
them: a qualifier said twice, another region, another account, a name too long to be one.
"""

import re
from dataclasses import dataclass
from typing import Final

from lambent.model.errors import AccessDenied, InvalidParameterValue, ResourceNotFound, ValidationError
from lambent.model.functions import LATEST
from lambent.model.ids import Scope
from lambent.model.invocations import Target

FUNCTION_NAME_LIMIT_CHARS: Final = 64
# Service model, NamespacedFunctionName: the widest of the patterns; operations that allow less are held by ``wire``.
FUNCTION_NAME_PATTERN: Final = (
    r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?"
    r"([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?"
)
_FUNCTION_NAME: Final = re.compile(
    r"(?:arn:(?:aws[a-zA-Z-]*)?:lambda:)?"
    r"(?:(?P<region>(?:eusc-)?[a-z]{2}(?:-gov|-iso[a-z]?)?-[a-z]+-\d):)?"
    r"(?:(?P<account>\d{12}):)?(?:function:)?"
    r"(?P<name>[a-zA-Z0-9-_.]+)(?::(?P<qualifier>\$LATEST(?:\.PUBLISHED)?|[a-zA-Z0-9-_]+))?"
)
_ALIAS: Final = re.compile(r"(?!\d+$)[a-zA-Z0-9-_]+")  # service model, Alias
_TAGGABLE: Final = re.compile(
    r"arn:aws[a-zA-Z-]*:lambda:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):(?P<kind>[a-z-]+):(?P<name>[^:]+)"
    r"(?::(?P<qualifier>.+))?"
)

MISMATCH: Final = "The derived qualifier from the function name does not match the specified qualifier."


@dataclass(frozen=True, slots=True)
class FunctionName:
    """A function's name as written: the parts that were there."""

    name: str
    qualifier: str | None = None
    account_id: str | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True)
class TaggableResource:
    """An ARN that TagResource takes. ``kind`` is the ARN's own word: function, event-source-mapping …"""

    scope: Scope
    kind: str
    name: str
    qualifier: str | None
    arn: str


def parse_function_name(text: str) -> FunctionName:
    """Return the parts of a name, partial ARN or full ARN, each with or without a qualifier."""
    if (match := _FUNCTION_NAME.fullmatch(text)) is None:
        raise ValidationError(
            f"1 validation error detected: Value '{text}' at 'functionName' failed to satisfy constraint: "
            f"Member must satisfy regular expression pattern: {FUNCTION_NAME_PATTERN}"
        )
    return FunctionName(match["name"], match["qualifier"], match["account"], match["region"])


def parse_function_reference(
    text: str,
    qualifier: str | None,
    scope: Scope,
    operation: str,
    *,
    caller_arn: str = "",
    may_cross_accounts: bool = False,
) -> Target:
    """Return which function the members FunctionName and Qualifier of ``operation`` mean in ``scope``.

    Recorded from AWS, in this order: model constraints, the qualifier said twice, region, account, existence; the
    last is the caller's to check. With ``may_cross_accounts`` another account is no error here: who calls this
    asks that account's policies. Only CreateFunction holds a bare name to 64 characters; others do not find it.
    """
    written = parse_function_name(text)
    if written.qualifier and qualifier and written.qualifier != qualifier:
        raise InvalidParameterValue(MISMATCH)
    if may_cross_accounts and written.account_id is not None:
        scope = Scope(written.account_id, scope.region)
    _require_scope(written.region, written.account_id, scope, operation, text, caller_arn)
    if operation == "CreateFunction" and len(written.name) > FUNCTION_NAME_LIMIT_CHARS:
        # Recorded from AWS: the text of a model constraint under the code of a rule.
        raise InvalidParameterValue(
            f"1 validation error detected: Value '{written.name}' at 'functionName' failed to satisfy constraint: "
            f"Member must have length less than or equal to {FUNCTION_NAME_LIMIT_CHARS}"
        )
    return Target(scope, written.name, qualifier or written.qualifier)


def parse_taggable_resource(text: str, scope: Scope, operation: str, *, caller_arn: str = "") -> TaggableResource:
    """Return what the member Resource of a tag operation names; its pattern was checked before."""
    if (match := _TAGGABLE.fullmatch(text)) is None:
        raise ValidationError(
            f"1 validation error detected: Value '{text}' at 'resource' failed to satisfy constraint: "
            f"Member must satisfy regular expression pattern: {_TAGGABLE.pattern}"
        )
    _require_scope(match["region"], match["account"], scope, operation, text, caller_arn)
    return TaggableResource(scope, match["kind"], match["name"], match["qualifier"], text)


def is_alias_name(qualifier: str) -> bool:
    """Return whether a qualifier can only be an alias: neither a number nor a ``$`` word."""
    return _ALIAS.fullmatch(qualifier) is not None


def function_not_found(target: Target) -> ResourceNotFound:
    """Return AWS's error for a function, version or alias that is not there: the ARN as the caller meant it."""
    return ResourceNotFound(f"Function not found: {target.arn}")


def is_latest(target: Target) -> bool:
    """Return whether ``target`` means ``$LATEST``, said or unsaid."""
    return target.qualifier in (None, LATEST)


def _require_scope(
    region: str | None, account_id: str | None, scope: Scope, operation: str, resource: str, caller_arn: str
) -> None:
    if region is not None and region != scope.region:
        raise ResourceNotFound(f"Functions from '{region}' are not reachable in this region ('{scope.region}')")
    if account_id is not None and account_id != scope.account_id:
        # Developer guide, "Troubleshooting access denied": the text when no policy of the other account allows it.
        user = caller_arn or f"arn:{scope.partition}:iam::{scope.account_id}:root"
        raise AccessDenied(
            f"User: {user} is not authorized to perform: lambda:{operation} on resource: {resource} "
            f"because no resource-based policy allows the lambda:{operation} action",
            kind=None,
        )

"""IAM's policy language: whether statements allow or deny a request. Pure; knows no store and no service.

IAM user guide, "Policy evaluation logic": an explicit Deny wins, then an Allow, else the request is denied implicitly.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any, Final


class Decision(StrEnum):
    """What statements say of a request."""

    ALLOW = "allow"
    DENY = "deny"
    NOT_ALLOWED = "not allowed"  # nothing speaks of it


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRequest:
    """Who wants to do what to which resource, with the condition keys that are known, in lower case.

    ``principal`` is the caller's ARN, or the name of a service such as ``s3.amazonaws.com``.
    """

    principal: str
    action: str
    resource: str
    context: Mapping[str, Sequence[str]] = field(default_factory=dict)


def decide_access(statements: Iterable[Mapping[str, Any]], request: AccessRequest) -> Decision:
    """Return what ``statements`` of resource policies say of ``request``."""
    decision = Decision.NOT_ALLOWED
    for statement in statements:
        if not _applies(statement, request):
            continue
        if statement.get("Effect") == "Deny":
            return Decision.DENY
        if statement.get("Effect") == "Allow":
            decision = Decision.ALLOW
    return decision


def _applies(statement: Mapping[str, Any], request: AccessRequest) -> bool:
    return (
        _matches_element(statement, "Principal", lambda wanted: _is_principal(wanted, request.principal))
        and _matches_element(statement, "Action", lambda wanted: _is_action(wanted, request.action))
        and _matches_element(statement, "Resource", lambda wanted: _is_resource(wanted, request))
        and _meets(statement.get("Condition") or {}, request.context)
    )


def _matches_element(statement: Mapping[str, Any], name: str, matches: Callable[[Any], bool]) -> bool:
    """Whether an element, or its negation, takes the request in. A statement without either takes in nothing."""
    if f"Not{name}" in statement:
        return not matches(statement[f"Not{name}"])
    return name in statement and matches(statement[name])


# --- elements


def _is_action(wanted: str | Sequence[str], action: str) -> bool:
    # IAM user guide, "Action": names are not case-sensitive.
    return any(_is_like(pattern.lower(), action.lower()) for pattern in _listed(wanted))


def _is_resource(wanted: str | Sequence[str], request: AccessRequest) -> bool:
    return any(_is_like(pattern, request.resource, request.context) for pattern in _listed(wanted))


def _is_principal(wanted: str | Mapping[str, Any], principal: str) -> bool:
    if isinstance(wanted, str):
        return wanted == "*"
    if not principal.startswith("arn:"):
        return principal in _listed(wanted.get("Service", ()))
    return any(_is_aws_principal(each, principal) for each in _listed(wanted.get("AWS", ())))


def _is_aws_principal(wanted: str, principal: str) -> bool:
    """IAM user guide, "Principal": everyone, an account (by number or root), a user, role, or role session."""
    if wanted in ("*", principal):
        return True
    account_id = principal.split(":")[4]
    if wanted == account_id or re.fullmatch(rf"arn:aws[a-z-]*:iam::{account_id}:root", wanted):
        return True
    session = re.fullmatch(r"arn:(aws[a-z-]*):sts::(\d{12}):assumed-role/([^/]+)/.+", principal)
    if session is None:
        return False
    # The session's ARN has the role's name without its path.
    return re.fullmatch(rf"arn:{session[1]}:iam::{session[2]}:role/(?:.+/)?{re.escape(session[3])}", wanted) is not None


# --- conditions


def _meets(condition: Mapping[str, Mapping[str, Any]], context: Mapping[str, Sequence[str]]) -> bool:
    """Whether every operator holds for every of its keys."""
    return all(
        _holds(operator, key.lower(), _listed(wanted), context)
        for operator, keys in condition.items()
        for key, wanted in keys.items()
    )


def _holds(operator: str, key: str, wanted: Sequence[Any], context: Mapping[str, Sequence[str]]) -> bool:
    quantifier, _, name = operator.rpartition(":")
    has_if_exists = name.endswith("IfExists")
    name = name.removesuffix("IfExists")
    values = context.get(key)
    if name == "Null":
        return any((str(each).lower() == "true") == (values is None) for each in wanted)
    if name not in _OPERATORS:
        return False  # a condition that nobody can check is met by nobody
    test, is_negated = _OPERATORS[name]
    filled = [_filled(str(each), context) for each in wanted]
    if not name.endswith("Like") and not name.startswith("Arn"):
        filled = [each.replace("\0", "") for each in filled]  # there are no wildcards to tell from

    def meets_one(value: str) -> bool:
        return any(test(value, each) for each in filled) != is_negated

    if values is None:
        # IAM user guide: an absent key fails, but with IfExists, negated operators, and ForAllValues.
        return has_if_exists or quantifier == "ForAllValues" or (is_negated and quantifier != "ForAnyValue")
    if quantifier == "ForAllValues":
        return all(meets_one(value) for value in values)
    if quantifier == "ForAnyValue" or not is_negated:
        return any(meets_one(value) for value in values)
    return all(meets_one(value) for value in values)


def _compared(parse: Callable[[str], Any], compare: Callable[[Any, Any], bool]) -> Callable[[str, str], bool]:
    """Return a test of parsed values; what cannot be parsed meets nothing."""

    def test(value: str, wanted: str) -> bool:
        try:
            return compare(parse(value), parse(wanted))
        except ValueError:
            return False

    return test


def _instant(text: str) -> datetime:
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        return datetime.fromtimestamp(float(text), UTC)
    at = datetime.fromisoformat(text)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _is_in_network(value: str, wanted: str) -> bool:
    try:
        return ip_address(value) in ip_network(wanted, strict=False)
    except ValueError:
        return False


def _is_arn_like(value: str, wanted: str) -> bool:
    """IAM user guide, "ARN condition operators": each of the six parts is checked on its own."""
    parts, patterns = value.split(":", 5), wanted.split(":", 5)
    return len(parts) == len(patterns) == 6 and all(map(_is_like, patterns, parts))


_EQUAL: Final[Callable[[Any, Any], bool]] = lambda value, wanted: bool(value == wanted)  # noqa: E731
_LESS: Final[Callable[[Any, Any], bool]] = lambda value, wanted: bool(value < wanted)  # noqa: E731
_LESS_EQUAL: Final[Callable[[Any, Any], bool]] = lambda value, wanted: bool(value <= wanted)  # noqa: E731


def _ordered(kind: str, parse: Callable[[str], Any]) -> dict[str, tuple[Callable[[str, str], bool], bool]]:
    """Return the operators of numbers and dates; "greater" is the negation of "not less" only where both parse."""
    return {
        f"{kind}Equals": (_compared(parse, _EQUAL), False),
        f"{kind}NotEquals": (_compared(parse, _EQUAL), True),
        f"{kind}LessThan": (_compared(parse, _LESS), False),
        f"{kind}LessThanEquals": (_compared(parse, _LESS_EQUAL), False),
        f"{kind}GreaterThan": (_compared(parse, lambda value, wanted: value > wanted), False),
        f"{kind}GreaterThanEquals": (_compared(parse, lambda value, wanted: value >= wanted), False),
    }


_OPERATORS: Final[Mapping[str, tuple[Callable[[str, str], bool], bool]]] = {
    "StringEquals": (_EQUAL, False),
    "StringNotEquals": (_EQUAL, True),
    "StringEqualsIgnoreCase": (lambda value, wanted: value.lower() == wanted.lower(), False),
    "StringNotEqualsIgnoreCase": (lambda value, wanted: value.lower() == wanted.lower(), True),
    "StringLike": (lambda value, wanted: _is_like(wanted, value), False),
    "StringNotLike": (lambda value, wanted: _is_like(wanted, value), True),
    **_ordered("Numeric", float),
    **_ordered("Date", _instant),
    "Bool": (lambda value, wanted: value.lower() == wanted.lower(), False),
    "BinaryEquals": (_EQUAL, False),
    "IpAddress": (_is_in_network, False),
    "NotIpAddress": (_is_in_network, True),
    "ArnEquals": (_is_arn_like, False),
    "ArnLike": (_is_arn_like, False),
    "ArnNotEquals": (_is_arn_like, True),
    "ArnNotLike": (_is_arn_like, True),
}


# --- patterns


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else (value,)


def _filled(pattern: str, context: Mapping[str, Sequence[str]]) -> str:
    """Put the values of policy variables in: ``${aws:username}``; one that is not known stays, and matches nothing."""

    def value_of(found: re.Match[str]) -> str:
        name, _, default = found[1].partition(",")
        if name in ("*", "?", "$"):
            return f"\0{name}"  # the character itself, no wildcard
        values = context.get(name.strip().lower())
        if values is not None and len(values) == 1:
            return re.sub(r"([*?])", "\0\\1", values[0])
        return default.strip().strip("'") if default else found[0]

    return re.sub(r"\$\{([^{}]*)\}", value_of, pattern) if "${" in pattern else pattern


def _is_like(pattern: str, text: str, context: Mapping[str, Sequence[str]] | None = None) -> bool:
    """Whether ``text`` is like ``pattern``: * is any characters, ? any one; behind a NUL they are themselves."""
    return _compiled(_filled(pattern, context) if context else pattern).fullmatch(text) is not None


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.findall(r"\0.|[*?]|[^*?\0]+", pattern, re.DOTALL)
    wild = {"*": ".*", "?": "."}
    return re.compile("".join(wild.get(part) or re.escape(part.lstrip("\0")) for part in parts), re.DOTALL)

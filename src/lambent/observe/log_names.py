"""How log streams, ARNs and stored things of CloudWatch Logs are called."""

import hashlib
from datetime import UTC, datetime
from typing import Final

from lambent.model.functions import FunctionVersion
from lambent.model.ids import EnvironmentId, Scope

GROUPS_PREFIX: Final = "spec/log-group/"
STREAMS_PREFIX: Final = "spec/log-stream/"
EVENTS_PREFIX: Final = "log/"

_KEY_LIMIT_BYTES: Final = 512  # of the store's contract
_SHORTENED_CHARS: Final = 100  # of a name that is too long for a key; its digest follows


def stream_name(version: FunctionVersion, environment_id: EnvironmentId, at: datetime) -> str:
    """Return the log stream of an environment that was made at ``at``; it is AWS_LAMBDA_LOG_STREAM_NAME, too."""
    # Recorded from AWS: 2026/10/08/[$LATEST]<32 hex>, and with a custom group 2026/10/08/name[$LATEST]<32 hex>.
    name = version.name if version.log.is_custom_group else ""
    return f"{at.astimezone(UTC):%Y/%m/%d}/{name}[{version.version}]{environment_id}"


def group_arn(scope: Scope, group: str) -> str:
    """Return ``logGroupArn``; the member ``arn`` of a group has ``:*`` behind it."""
    return scope.arn("logs", f"log-group:{group}")


def stream_arn(scope: Scope, group: str, stream: str) -> str:
    """Return the ARN of a log stream."""
    return f"{group_arn(scope, group)}:log-stream:{stream}"


def groups_prefix(scope: Scope) -> str:
    """Return the prefix of the documents of a scope's log groups."""
    return f"{GROUPS_PREFIX}{scope.account_id}/{scope.region}/"


def group_key(scope: Scope, group: str) -> str:
    """Return the key of a log group's document."""
    return _key(groups_prefix(scope), group)


def streams_prefix(scope: Scope, group_id: str) -> str:
    """Return the prefix of the documents of a group's log streams."""
    return f"{STREAMS_PREFIX}{scope.account_id}/{scope.region}/{group_id}/"


def stream_key(scope: Scope, group_id: str, stream: str) -> str:
    """Return the key of a log stream's document."""
    return _key(streams_prefix(scope, group_id), stream)


def events_prefix(scope: Scope, group_id: str) -> str:
    """Return the prefix of the stored streams that hold a group's events."""
    return f"{EVENTS_PREFIX}{scope.account_id}/{scope.region}/{group_id}/"


def events_name(scope: Scope, group_id: str, stream_id: str) -> str:
    """Return the name of the stored stream that holds a log stream's events."""
    return f"{events_prefix(scope, group_id)}{stream_id}"


def _key(prefix: str, name: str) -> str:
    encoded = name.encode("utf-8", "surrogatepass")
    if len(prefix) + len(encoded) <= _KEY_LIMIT_BYTES and b"\0" not in encoded and name.isprintable():
        return prefix + name
    # No name of a group or stream has a colon, so that this is nobody else's key.
    start = "".join(char for char in name[:_SHORTENED_CHARS] if char.isascii() and char.isprintable())
    return f"{prefix}{start}:{hashlib.sha256(encoded).hexdigest()}"

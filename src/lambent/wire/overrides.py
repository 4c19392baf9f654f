"""Where AWS answers differently from what its own service model says. Data only; each entry names its source."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from lambent.model.errors import ValidationError
from lambent.wire.errors import InternalFailure, InvalidParameter, ServiceFailed, ServiceUnavailable

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """The differences of one service."""

    validation_error: type[ValidationError] = ValidationError
    internal_error: type[ServiceFailed] = InternalFailure
    # Shape name → the pattern AWS quotes in its message; what matches is still the model's pattern.
    quoted_patterns: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    # Shape name → the order in which AWS lists an enum.
    enum_orders: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    # "Operation.Member" whose value the operation's own rule judges, with its own message.
    unchecked: frozenset[str] = frozenset()
    # List shapes whose "Member must satisfy constraint: […]" does not end in "Member must not be null".
    nullable_lists: frozenset[str] = frozenset()
    # Operation → success status.
    statuses: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    # Code that the service model does not know → the body's message member.
    message_members: Mapping[str, str] = field(default_factory=lambda: _NOTHING)


LAMBDA: Final = Overrides(
    internal_error=ServiceFailed,
    quoted_patterns=MappingProxyType(
        {
            # Recorded from AWS (2025-11): CreateFunction with a layer ARN that has no version.
            "LayerVersionArn": (
                r"(arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:layer:"
                r"[a-zA-Z0-9-_]+:[0-9]+)|(arn:[a-zA-Z0-9-]+:lambda:::awslayer:[a-zA-Z0-9-_]+)"
            ),
            # Recorded from AWS (2025-11): ListTags, TagResource, UntagResource with the ARN of something else.
            "TaggableResource": (
                r"arn:(aws[a-zA-Z-]*):lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:"
                r"(function:[a-zA-Z0-9-_]+(:(\$LATEST|[a-zA-Z0-9-_]+))?|layer:([a-zA-Z0-9-_]+)|"
                r"code-signing-config:csc-[a-z0-9]{17}|event-source-mapping:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-"
                r"[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|capacity-provider:[a-zA-Z0-9-_]+)"
            ),
        }
    ),
    enum_orders=MappingProxyType(
        {
            # Recorded from AWS (2025-11): PutFunctionRecursionConfig, CreateEventSourceMapping.
            "RecursiveLoop": ("Terminate", "Allow"),
            "EventSourcePosition": ("LATEST", "AT_TIMESTAMP", "TRIM_HORIZON"),
        }
    ),
    # Recorded from AWS: an unknown runtime is an InvalidParameterValueException with another wording.
    unchecked=frozenset({"CreateFunction.Runtime", "UpdateFunctionConfiguration.Runtime"}),
    # Recorded from AWS (2025-11): CreateFunction with a malformed security group; subnets by analogy.
    nullable_lists=frozenset({"SecurityGroupIds", "SubnetIds"}),
    # Recorded from AWS: DeleteFunction answers 204 (the model says 200).
    statuses=MappingProxyType({"DeleteFunction": 204}),
    # Seen from AWS: {"Message": "User: … is not authorized to perform: …"} without a Type.
    message_members=MappingProxyType({"AccessDeniedException": "Message"}),
)

LOGS: Final = Overrides(
    # Seen from AWS: CreateLogGroup with a bad name is an InvalidParameterException with the usual wording.
    validation_error=InvalidParameter,
    internal_error=ServiceUnavailable,
)

_BY_SERVICE: Final[Mapping[str, Overrides]] = MappingProxyType({"lambda": LAMBDA, "logs": LOGS})


def find_overrides(service: str) -> Overrides:
    """Return what is known of ``service`` beyond its model; the default for a service without entries."""
    return _BY_SERVICE.get(service, Overrides())

"""Where asynchronous invocations may be reported to: AWS's rules on ARNs, and whether this host can reach them."""

from collections.abc import Callable
from typing import Final, TypeAlias

from lambent.model.errors import InvalidParameterValue
from lambent.model.invocations import Target
from lambent.model.requests import Members

# Why a service (by its name in ARNs) cannot be reached from here, or None.
Reachable: TypeAlias = Callable[[str], str | None]

# Developer guide, "Retaining records of asynchronous invocations"; S3 on failure only.
_SERVICES: Final = {
    "OnSuccess": frozenset({"sqs", "sns", "lambda", "events"}),
    "OnFailure": frozenset({"sqs", "sns", "lambda", "events", "s3"}),
}
_DEAD_LETTER_SERVICES: Final = frozenset({"sqs", "sns"})


def parse_destinations(config: Members, target: Target, reachable: Reachable) -> dict[str, str | None]:
    """Return the ARN, or None, of each member of DestinationConfig that is given."""
    found: dict[str, str | None] = {}
    for member in _SERVICES:
        if config.get(member) is not None:
            arn = config[member].get("Destination") or None
            if arn is not None:
                _require_kind(arn, member, config)
                _require_another(arn, target)
                require_reachable(arn, reachable)
            found[member] = arn
    return found


def parse_dead_letter_target(config: Members, reachable: Reachable) -> str | None:
    """Return the ARN of DeadLetterConfig, None for an empty one. Standard queues and topics only."""
    arn: str | None = config.get("TargetArn") or None
    if arn is None:
        return None
    if _service(arn) not in _DEAD_LETTER_SERVICES or arn.endswith(".fifo"):
        # Developer guide, "Adding a dead-letter queue": an SQS queue or an SNS topic, neither FIFO. The text is ours.
        raise InvalidParameterValue(f"The provided dead letter target {arn} is no standard SQS queue or SNS topic.")
    require_reachable(arn, reachable)
    return arn


def require_reachable(arn: str, reachable: Reachable) -> None:
    """Raise where this host has no place for the service: nothing is accepted that would come to nothing."""
    service = _service(arn)
    if service != "lambda" and (obstacle := reachable(service)) is not None:
        raise InvalidParameterValue(f"{arn} cannot be reached: {obstacle}")


def _require_kind(arn: str, member: str, config: Members) -> None:
    if _service(arn) in _SERVICES[member] and not arn.endswith(".fifo"):
        return
    # Recorded from AWS (2025-11) for a service that is none; for S3 on success and for FIFO assumed to read alike.
    parts = []
    for name in _SERVICES:
        inner = (config.get(name) or {}).get("Destination")
        parts.append(f"on{name[2:]}={f'{name}(destination={inner})' if inner else 'null'}")
    raise InvalidParameterValue(f"The provided destination config DestinationConfig({', '.join(parts)}) is invalid.")


def _require_another(arn: str, target: Target) -> None:
    own = target.scope.arn("lambda", f"function:{target.name}")
    if arn == own or arn.startswith(f"{own}:"):
        raise InvalidParameterValue("You can't specify the function as a destination for itself.")


def _service(arn: str) -> str:
    return arn.split(":")[2] if arn.count(":") >= 5 else ""

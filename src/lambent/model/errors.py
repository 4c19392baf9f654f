"""The three families of errors. A function's own failure is none of them: it is a value (``InvocationResult``).

CallerError            the caller can mend it; carries AWS's code, status, message and members
├─ every AWS error that an operation answers (defined beside the rule that raises it)
HostError              this machine failed: disk, kernel, a peer; the caller gets ServiceException
TransitionError        our own defect; nobody goes on with the object that raised it
"""

from enum import StrEnum
from typing import ClassVar


class LambentError(Exception):
    """The root of all errors that Lambent raises on purpose."""


class CallerError(LambentError):
    """The caller can mend it. ``code`` and ``status`` are AWS's; ``message`` is AWS's text, word for word.

    ``members`` are further members of the error's body, by AWS's names. ``kind`` is the body's ``Type`` member
    ("User", "Service"); None leaves it out, as AWS does for some errors. ``message_member`` is the name of the
    member that holds the message; None means: as the service model's shape of that code says.
    """

    code: ClassVar[str] = "InvalidParameterValueException"
    status: ClassVar[int] = 400
    kind: str | None = "User"
    message_member: str | None = None

    def __init__(self, message: str, *, kind: str | None = "User", **members: object) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.members = members


class InvalidParameterValue(CallerError):
    """One of the parameters in the request is not valid."""


class ValidationError(CallerError):
    """The request breaks the service model's constraints; built by ``wire`` and ``model.names``."""

    code = "ValidationException"

    def __init__(self, message: str) -> None:
        super().__init__(message, kind=None)


class ResourceNotFound(CallerError):
    """The resource of the request does not exist."""

    code, status = "ResourceNotFoundException", 404


class ProvisionedConfigNotFound(CallerError):
    """Nothing is provisioned for the version or alias."""

    code, status = "ProvisionedConcurrencyConfigNotFoundException", 404

    def __init__(self) -> None:
        # Recorded from AWS (2025-11).
        super().__init__("No Provisioned Concurrency Config found for this function")


class PolicyLengthExceeded(CallerError):
    """A resource policy would be larger than 20 KB."""

    code = "PolicyLengthExceededException"


class ResourceConflict(CallerError):
    """The resource exists already, or another operation is in progress."""

    code, status = "ResourceConflictException", 409


class PreconditionFailed(CallerError):
    """The RevisionId of the request is not the latest."""

    code, status = "PreconditionFailedException", 412


class AccessDenied(CallerError):
    """The caller may not do this."""

    code, status = "AccessDeniedException", 403


class RequestTooLarge(CallerError):
    """The request is over one of AWS's size limits."""

    # Recorded from AWS: RequestEntityTooLargeException without a Type (the model says RequestTooLargeException).
    code, status = "RequestEntityTooLargeException", 413

    def __init__(self, message: str) -> None:
        super().__init__(message, kind=None)


class InvalidRequestContent(CallerError):
    """The body is not what the operation reads."""

    code = "InvalidRequestContentException"


class ThrottleReason(StrEnum):
    """Values of ``Reason`` in a 429 (service model, ThrottleReason)."""

    CONCURRENT = "ConcurrentInvocationLimitExceeded"
    RESERVED_CONCURRENT = "ReservedFunctionConcurrentInvocationLimitExceeded"
    RATE = "FunctionInvocationRateLimitExceeded"
    RESERVED_RATE = "ReservedFunctionInvocationRateLimitExceeded"
    CALLER_RATE = "CallerRateLimitExceeded"
    SNAPSHOTS = "ConcurrentSnapshotCreateLimitExceeded"


class Throttled(CallerError):
    """A concurrency or rate limit refused the call; nothing ran and nothing is billed."""

    # API reference, Invoke, "Errors": TooManyRequestsException is 429 and names its Reason.
    code, status = "TooManyRequestsException", 429

    def __init__(self, reason: ThrottleReason) -> None:
        # Recorded from AWS: without Retry-After where concurrency is exhausted; where a rate is, one second is assumed.
        later = {"retryAfterSeconds": "1"} if reason in (ThrottleReason.RATE, ThrottleReason.RESERVED_RATE) else {}
        super().__init__("Rate Exceeded.", Reason=str(reason), **later)
        self.reason = reason


class NotImplementedYet(CallerError):
    """An operation of the service model that Lambent has not built."""

    code, status = "NotImplementedException", 501

    def __init__(self, operation: str) -> None:
        super().__init__(f"{operation} is not implemented yet", kind=None)


class HostError(LambentError):
    """This machine failed (disk, kernel, a peer). The caller gets ServiceException; the log gets the cause."""


class Refused(HostError):
    """This host cannot enforce a setting, so nothing was started. Says which, why, and what would help."""

    def __init__(self, setting: str, reason: str, remedy: str) -> None:
        super().__init__(f"{setting}: {reason} ({remedy})")
        self.setting, self.reason, self.remedy = setting, reason, remedy


class NeighbourRefusal(LambentError):
    """Another AWS service refused what we asked of it: its own code and message, for our answer.

    ``is_passing``: the same request may do better later: no answer, a throttle, a failure of the service's own.
    """

    def __init__(self, code: str, message: str, *, is_passing: bool = False) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.is_passing = code, message, is_passing


class TransitionError(LambentError):
    """A state machine was asked for an edge that it does not have: a defect of ours."""

"""The errors of CloudWatch Logs, in AWS's words."""

from lambent.model.errors import CallerError


class LogsError(CallerError):
    """An error of CloudWatch Logs; its answers have no ``Type``."""

    def __init__(self, message: str) -> None:
        super().__init__(message, kind=None)


class InvalidParameter(LogsError):
    """A parameter is specified incorrectly."""

    code = "InvalidParameterException"


class LogResourceNotFound(LogsError):
    """The log group or stream does not exist."""

    # Service model: errors of the json protocol are 400, this one too.
    code = "ResourceNotFoundException"


class LogResourceAlreadyExists(LogsError):
    """The log group or stream exists already."""

    code = "ResourceAlreadyExistsException"


class DeletionProtected(LogsError):
    """The log group may not be deleted."""

    code = "ValidationException"


def no_group() -> LogResourceNotFound:
    """Return the error for a log group that does not exist."""
    return LogResourceNotFound("The specified log group does not exist.")


def no_stream() -> LogResourceNotFound:
    """Return the error for a log stream that does not exist."""
    return LogResourceNotFound("The specified log stream does not exist.")


def bad_token() -> InvalidParameter:
    """Return the error for a ``nextToken`` that we never gave."""
    return InvalidParameter("The specified nextToken is invalid.")


def broken_constraint(value: object, member: str, constraint: str) -> InvalidParameter:
    """Return the error for a value outside what the service model allows, as CloudWatch Logs words it."""
    return InvalidParameter(
        f"1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: {constraint}"
    )

"""The errors that reading a request can raise, beside ``model.errors.ValidationError``."""

from typing import ClassVar

from lambent.model.errors import CallerError, ValidationError


class UnreadableValue(CallerError):
    """A member of the request has another JSON type than the service model says."""

    # Seen from AWS (Lambda, UpdateFunctionConfiguration): 400, code SerializationException, and a body of only
    # {"Message": "STRING_VALUE can not be converted to an Integer"}.
    code: ClassVar[str] = "SerializationException"
    message_member = "Message"

    def __init__(self, message: str) -> None:
        super().__init__(message, kind=None)


class UnknownOperation(CallerError):
    """X-Amz-Target names an operation that the service does not have."""

    code: ClassVar[str] = "UnknownOperationException"

    def __init__(self) -> None:
        super().__init__("", kind=None)


class InvalidParameter(ValidationError):
    """A broken constraint, in the services that call it InvalidParameterException (CloudWatch Logs)."""

    code: ClassVar[str] = "InvalidParameterException"


class ServiceFailed(CallerError):
    """What a caller of Lambda hears of a failure of this machine."""

    code, status = "ServiceException", 500

    def __init__(self, message: str) -> None:
        super().__init__(message, kind="Service")


class ServiceUnavailable(ServiceFailed):
    """What a caller of CloudWatch Logs hears of a failure of this machine."""

    code, status = "ServiceUnavailableException", 500


class InternalFailure(ServiceFailed):
    """What a caller of any other service hears of a failure of this machine (AWS's common error)."""

    code, status = "InternalFailure", 500

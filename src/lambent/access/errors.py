"""AWS's answers to a request whose signature does not hold."""

from typing import ClassVar

from lambent.model.errors import CallerError


class AuthenticationError(CallerError):
    """The caller is not who he says, or does not say it as AWS wants to hear it."""

    code: ClassVar[str] = "InvalidSignatureException"
    status: ClassVar[int] = 403

    def __init__(self, message: str) -> None:
        # Seen from AWS: {"message": …} without a Type.
        super().__init__(message, kind=None)


class MissingAuthenticationToken(AuthenticationError):
    """The request is not signed at all."""

    code = "MissingAuthenticationTokenException"

    def __init__(self) -> None:
        super().__init__("Missing Authentication Token")


class IncompleteSignature(AuthenticationError):
    """The parts of the signature are not all there, or cannot be read."""

    code = "IncompleteSignatureException"


class UnrecognizedClient(AuthenticationError):
    """The access key or the session token is none that we know."""

    code = "UnrecognizedClientException"

    def __init__(self) -> None:
        super().__init__("The security token included in the request is invalid.")


class ExpiredToken(AuthenticationError):
    """The temporary credentials are past their time."""

    code = "ExpiredTokenException"

    def __init__(self) -> None:
        super().__init__("The security token included in the request is expired")


class InvalidSignature(AuthenticationError):
    """The signature is complete and does not hold."""

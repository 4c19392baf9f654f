"""The cause that a runtime reports for X-Ray: validated, and cut to what a trace document may hold."""

from typing import Any, Final

import msgspec

# X-Ray documents hold at most 64 KiB; the interface emulator crops in these steps, then keeps two cut texts only.
CAUSE_LIMIT_BYTES: Final = 64 << 10
_CROPS: Final = (0.8, 0.6, 0.4, 0.2)
_BARE_TEXT_LIMIT: Final = 1024


class _Frame(msgspec.Struct, omit_defaults=True):
    path: str = ""
    line: int = 0
    label: str = ""


class _Exception(msgspec.Struct, omit_defaults=True):
    message: str = ""
    type: str = ""
    stack: list[_Frame] = []


class _Cause(msgspec.Struct):
    exceptions: list[_Exception] | None = None
    working_directory: str = ""
    paths: list[str] | None = None
    message: str = ""


class _ErrorWithCause(msgspec.Struct):
    errorMessage: str = ""
    errorType: str = ""
    stackTrace: list[str] | None = None
    errorCause: msgspec.Raw = msgspec.Raw()


def find_error_cause(text: bytes | None) -> bytes | None:
    """Return the cause in ``text`` as compact JSON of at most 64 KiB, or None if there is no valid one."""
    if not text:
        return None
    try:
        cause = msgspec.json.decode(text, type=_Cause)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not (cause.exceptions or cause.working_directory or cause.paths or cause.message):
        return None
    rendered = _render(cause)
    if len(rendered) <= CAUSE_LIMIT_BYTES:
        return rendered
    for factor in _CROPS:
        if len(cropped := _render(_crop(cause, factor))) <= CAUSE_LIMIT_BYTES:
            return cropped
    return _render(
        _Cause(message=cause.message[:_BARE_TEXT_LIMIT], working_directory=cause.working_directory[:_BARE_TEXT_LIMIT])
    )


def split_error_cause(body: bytes) -> tuple[bytes, str, bytes | None]:
    """Return what the caller gets of an ``…error.cause+json`` body, its content type, and the cause.

    A body that cannot be read becomes AWS's fixed text, as octets.
    """
    try:
        error = msgspec.json.decode(body, type=_ErrorWithCause)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return b'"Invalid error body"', "application/octet-stream", None
    members: dict[str, Any] = {"errorMessage": error.errorMessage, "errorType": error.errorType}
    if error.stackTrace:
        members["stackTrace"] = error.stackTrace
    cause = find_error_cause(bytes(error.errorCause))
    return msgspec.json.encode(members), "application/json", cause


def _crop(cause: _Cause, factor: float) -> _Cause:
    return _Cause(
        exceptions=[
            _Exception(
                message=each.message[: _kept(each.message, factor)],
                type=each.type[: _kept(each.type, factor)],
                stack=each.stack[: _kept(each.stack, factor)],
            )
            for each in (cause.exceptions or [])[: _kept(cause.exceptions or [], factor)]
        ],
        working_directory=cause.working_directory[: _kept(cause.working_directory, factor)],
        paths=(cause.paths or [])[: _kept(cause.paths or [], factor)],
        message=cause.message[: _kept(cause.message, factor)],
    )


def _kept(things: str | list[Any], factor: float) -> int:
    return int(len(things) * factor)


def _render(cause: _Cause) -> bytes:
    members: dict[str, Any] = {
        "exceptions": cause.exceptions,
        "working_directory": cause.working_directory,
        "paths": cause.paths,
    }
    if cause.message:
        members["message"] = cause.message
    return msgspec.json.encode(members)

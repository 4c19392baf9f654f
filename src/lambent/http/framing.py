"""Rules of HTTP/1.1 framing as plain functions: which requests are sound, and the bytes of answers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from lambent.http.application import Headers, RequestHead

STATUS_LINES: Final[Mapping[int, str]] = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus
}
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
# RFC 9112 §3.2: request targets of an origin server; llhttp has refused control and non-ASCII characters already.
_ABSOLUTE_FORM = re.compile(r"(?i:https?)://([^/?#]*)(.*)", re.DOTALL)
_SINGLE = frozenset({"host", "content-length", "transfer-encoding", "expect"})


class Malformed(Exception):
    """The peer's bytes are no acceptable request; the connection ends after the answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(slots=True)
class Framing:
    """How a request's body is delimited (neither: there is none)."""

    content_length: int | None
    is_chunked: bool
    expects_continue: bool


NO_BODY: Final = Framing(None, False, False)


def parse_target(target: str, headers: Mapping[str, str]) -> tuple[str, str]:
    """Return path and query of a request target, both as sent; Malformed for forms no origin server takes."""
    if not target.startswith("/") and target != "*":
        # RFC 9112 §3.2.2: a server must accept the absolute form; a Host that says otherwise would be two truths.
        if (absolute := _ABSOLUTE_FORM.fullmatch(target)) is None:
            raise Malformed(400, "request target is not a path")
        if absolute[1].lower() != headers.get("host", "").lower():
            raise Malformed(400, "request target and Host differ")
        target = absolute[2] if absolute[2].startswith("/") else "/" + absolute[2]
    if "#" in target:
        raise Malformed(400, "request target has a fragment")
    path, _, query = target.partition("?")
    return path, query


def decide_framing(
    method: str, version: str, headers: tuple[tuple[str, str], ...], by_name: Mapping[str, str]
) -> Framing:
    """Return how the body is delimited; Malformed for every request that two readers could read in two ways.

    The parser has refused already: both lengths at once, two Content-Length, folded lines, bare LF, blanks before a
    colon, NUL and other control characters. ``by_name`` holds one value of each header.
    """
    if version != "1.1" and version != "1.0":
        raise Malformed(505, "HTTP/1.1 is spoken here")
    if method not in METHODS:
        raise Malformed(501, "method is not known")
    if len(by_name) != len(headers):
        _require_single(headers)
    if "host" not in by_name and version == "1.1":
        raise Malformed(400, "Host is missing")  # RFC 9112 §3.2
    coding, length, expect = by_name.get("transfer-encoding"), by_name.get("content-length"), by_name.get("expect")
    if coding is None and length is None and expect is None:
        return NO_BODY
    _require_one_length(coding, length, version)
    if expect is not None and expect.lower() != "100-continue":
        raise Malformed(417, "expectation is not known")
    return Framing(None if length is None else int(length), coding is not None, expect is not None and version == "1.1")


def _require_one_length(coding: str | None, length: str | None, version: str) -> None:
    if coding is not None:
        if length is not None or version == "1.0":
            raise Malformed(400, "body length is ambiguous")  # RFC 9112 §6.1, §6.3
        if coding.lower() != "chunked":
            raise Malformed(501, "transfer coding is not known")
    if length is not None and not (length.isascii() and length.isdigit()):
        raise Malformed(400, "Content-Length is not a number")


def _require_single(headers: Headers) -> None:
    seen: set[str] = set()
    for name, _ in headers:
        if name in _SINGLE and name in seen:
            raise Malformed(400, f"{name} is given twice")
        seen.add(name)


def head_bytes(head: RequestHead) -> int:
    """Return the size of a head on the wire, blanks around header values left out."""
    line = len(head.method) + len(head.target) + len("  HTTP/1.1\r\n\r\n")
    return line + sum(len(name) + len(value) + 4 for name, value in head.headers)


def has_no_body(status: int) -> bool:
    """Whether answers of ``status`` never have a body (RFC 9110 §6.4.1)."""
    return status == 204 or status == 304 or status < 200


def render_head(status: int, headers: Headers, framing: str, *, is_kept_alive: bool) -> bytes:
    """Return an answer's head. ``framing`` is the line that delimits its body, or empty.

    Raises ValueError for a header that would break out of its line.
    """
    if len(headers) == 1 and isinstance(headers, tuple):  # a constant of somebody's
        return _render_constant_head(status, headers, framing, is_kept_alive)
    return _render_head(status, headers, framing, is_kept_alive)


def _render_head(status: int, headers: Headers, framing: str, is_kept_alive: bool) -> bytes:
    lines = [STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in headers]
    lines.append(framing)
    lines.append("connection: keep-alive\r\n\r\n" if is_kept_alive else "connection: close\r\n\r\n")
    text = "".join(lines)
    expected = len(headers) + 3 + (framing != "")
    if text.count("\n") != expected or text.count("\r") != expected:
        raise ValueError("a header of the answer holds a line break")
    return text.encode("latin-1")


_render_constant_head = lru_cache(maxsize=256)(_render_head)


def render_trailers(trailers: Headers) -> bytes:
    """Return the end of a chunked answer."""
    if not trailers:
        return LAST_CHUNK
    text = "".join(["0\r\n", *(f"{name}: {value}\r\n" for name, value in trailers), "\r\n"])
    if text.count("\n") != len(trailers) + 2 or text.count("\r") != len(trailers) + 2:
        raise ValueError("a trailer of the answer holds a line break")
    return text.encode("latin-1")

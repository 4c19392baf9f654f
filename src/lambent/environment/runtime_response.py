"""Reads a runtime's answer that comes in pieces: streamed to a caller, buffered, too large, or cut short."""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lambent.environment.faults import (
    INVALID_RESPONSE_MODE,
    RESPONSE_TOO_LARGE,
    TRUNCATED_RESPONSE,
    render_fault,
    render_too_large,
    sanitised_error_type,
)
from lambent.environment.runtime_replies import ACCEPTED, INVALID_MODE, TOO_LARGE, TRUNCATED
from lambent.http.application import IncompleteBody, Request
from lambent.model.ids import RequestId
from lambent.model.invocations import SYNC_RESPONSE_LIMIT_BYTES, ResponseSink

MODE_HEADER: Final = "lambda-runtime-function-response-mode"
# Developer guide, quotas: "200 MB" for streamed responses.
STREAM_LIMIT_BYTES: Final = 200 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOutcome:
    """What was read: for the caller (payload and its type, or an error type), and for the runtime (status, reply)."""

    payload: bytes = b""
    content_type: str = "application/json"
    error_type: str | None = None
    response_bytes: int = 0
    status: int = 202
    reply: bytes = ACCEPTED


class ResponseReader:
    """Reads one answer. ``is_wanted`` says whether somebody still waits for it; if not, the rest is forgotten."""

    def __init__(self, request_id: RequestId, sink: ResponseSink | None, is_wanted: Callable[[], bool]) -> None:
        self._request_id = request_id
        self._sink = sink
        self._is_wanted = is_wanted
        self._kept: list[bytes] = []
        self._received_bytes = 0

    async def read(self, request: Request, *, is_error: bool = False) -> ReadOutcome:
        """Return what became of the answer in ``request`` once its body ended, one way or another."""
        mode = None if is_error else request.head.header(MODE_HEADER)
        content_type = request.head.header("content-type") or "application/json"
        is_valid_mode = mode is None or mode == "streaming"
        is_streamed = self._sink is not None and not is_error and is_valid_mode
        limit_bytes = STREAM_LIMIT_BYTES if is_streamed and mode is not None else SYNC_RESPONSE_LIMIT_BYTES
        if is_streamed and self._sink is not None:
            await self._sink.start(content_type)
        try:
            await self._take_body(request, limit_bytes if is_valid_mode else 0, self._sink if is_streamed else None)
        except IncompleteBody:
            # The interface emulator: the runtime hears it if it still listens, the caller gets the error type.
            return self._failure(TRUNCATED_RESPONSE, "HTTP request detected as truncated", 400, TRUNCATED)
        if not is_valid_mode:
            return self._failure(INVALID_RESPONSE_MODE, "Invalid function response mode", 400, INVALID_MODE)
        if self._received_bytes > limit_bytes:
            return ReadOutcome(payload=render_too_large(), error_type=RESPONSE_TOO_LARGE, status=413, reply=TOO_LARGE)
        return self._late_error(request) or ReadOutcome(
            payload=b"".join(self._kept), content_type=content_type, response_bytes=self._received_bytes
        )

    async def _take_body(self, request: Request, limit_bytes: int, sink: ResponseSink | None) -> None:
        if request.stream is None:
            await self._take(request.body, limit_bytes, sink)
            return
        async for chunk in request.stream:
            await self._take(chunk, limit_bytes, sink)

    async def _take(self, chunk: bytes, limit_bytes: int, sink: ResponseSink | None) -> None:
        self._received_bytes += len(chunk)
        if self._received_bytes > limit_bytes or not self._is_wanted():
            self._kept.clear()
        elif sink is not None:
            await sink.write(chunk)
        else:
            self._kept.append(chunk)

    def _late_error(self, request: Request) -> ReadOutcome | None:
        # Developer guide, "Building a custom runtime", response streaming: errors after the first byte are trailers.
        trailers = dict(request.trailers)
        stated = trailers.get("lambda-runtime-function-error-type")
        if stated is None:
            return None
        try:
            body = base64.b64decode(trailers.get("lambda-runtime-function-error-body", ""), validate=True)
        except (binascii.Error, ValueError):
            body = b""
        return ReadOutcome(payload=body, error_type=sanitised_error_type(stated), response_bytes=self._received_bytes)

    def _failure(self, error_type: str, message: str, status: int, reply: bytes) -> ReadOutcome:
        payload = render_fault(error_type, message, self._request_id)
        return ReadOutcome(payload=payload, error_type=error_type, status=status, reply=reply)

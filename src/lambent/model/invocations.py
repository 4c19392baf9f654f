"""One invocation from call to record. Every door builds an ``InvokeCall``; the road returns an ``InvocationResult``."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from lambent.model.ids import EnvironmentId, FunctionArn, RequestId, Scope

# Developer guide, quotas: "6 MB each for request and response (synchronous)"; the response limit is recorded from AWS.
SYNC_REQUEST_LIMIT_BYTES: Final = 6_291_456
SYNC_RESPONSE_LIMIT_BYTES: Final = 6_291_556
LOG_TAIL_LIMIT_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Target:
    """Which function: ``qualifier`` is a version number, an alias or ``$LATEST`` as written, or None."""

    scope: Scope
    name: str
    qualifier: str | None = None

    @property
    def arn(self) -> FunctionArn:
        """The ARN as invoked: with the qualifier if one was given."""
        arn = self.scope.arn("lambda", f"function:{self.name}")
        return FunctionArn(f"{arn}:{self.qualifier}" if self.qualifier else arn)


class ResponseSink(Protocol):
    """Where a streamed response goes while the function runs; None in a call means: buffer it."""

    async def start(self, content_type: str) -> None:
        """The first byte is near."""
        ...

    async def write(self, chunk: bytes) -> None:
        """Take one chunk; returns when the reader can take more."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class InvokeCall:
    """What a caller asked, from whatever door."""

    request_id: RequestId
    target: Target
    payload: bytes
    caller_arn: str = ""
    client_context: str | None = None  # decoded JSON text
    trace_header: str | None = None
    tenant_id: str | None = None
    wants_log_tail: bool = False
    is_dry_run: bool = False
    is_event: bool = False  # accepted before, and waiting in a queue
    sink: ResponseSink | None = None


class Status(StrEnum):
    """How an invocation ended, in the words of platform.report."""

    SUCCESS = "success"
    FAILURE = "failure"  # a crash whose error type begins with Sandbox.
    ERROR = "error"  # any other crash
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True, kw_only=True)
class InvocationResult:
    """The outcome as a value: payload or function error, executed version, log tail."""

    payload: bytes
    content_type: str = "application/json"
    function_error: str | None = None  # "Unhandled", as X-Amz-Function-Error
    executed_version: str
    log_tail: bytes | None = None
    trace_header: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InitRecord:
    """One run of INIT. ``phase`` is ``init``, or ``invoke`` for a suppressed init that ran inside an invocation."""

    started_at: datetime
    duration_ms: float
    phase: str = "init"
    initialization_type: str = "on-demand"
    status: Status = Status.SUCCESS
    error_type: str | None = None
    runtime_version: str | None = None  # e.g. python:3.13.v64
    runtime_version_arn: str | None = None


class InvocationRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What logs, metrics and bills are made from. Written after the caller has the answer; immutable.

    A struct, for each invocation makes one: a frozen dataclass of as many members takes eight times as long.
    """

    request_id: RequestId
    scope: Scope
    function_name: str
    qualifier: str | None
    version: str
    environment_id: EnvironmentId
    started_at: datetime
    duration_ms: float
    billed_ms: int
    memory_mib: int
    max_memory_mib: int
    init_duration_ms: float | None = None  # present on the first invocation after a successful INIT
    status: Status = Status.SUCCESS
    error_type: str | None = None
    is_function_error: bool = False
    trace_header: str | None = None
    tenant_id: str | None = None
    response_bytes: int = 0
    spans: tuple[tuple[str, datetime, float], ...] = ()

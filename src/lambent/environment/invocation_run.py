"""One invocation inside one environment: what was asked, when what happened, and what to tell of it afterwards."""

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from lambent.environment.runtime_api import Exchange, RuntimeAnswer
from lambent.model.errors import HostError
from lambent.model.functions import FunctionVersion
from lambent.model.ids import EnvironmentId, new_uuid
from lambent.model.invocations import InvocationRecord, InvocationResult, InvokeCall, Status

UNHANDLED: Final = "Unhandled"  # recorded from AWS: for every function error, also cleanly raised ones


# Gets the outcome of a call, once: what the function made of it, or why this host could not run it.
Done = Callable[[InvocationResult | HostError], None]


class InvocationRun:
    """One run. ``done`` gets its outcome."""

    __slots__ = (
        "answer",
        "answered_mono_s",
        "call",
        "done",
        "has_started",
        "is_resolved",
        "response_mono_s",
        "started_at",
        "started_mono_s",
    )

    def __init__(self, call: InvokeCall, started_at: datetime, started_mono_s: float, done: Done) -> None:
        self.call = call
        self.done = done
        self.is_resolved = False
        self.started_at = started_at
        self.started_mono_s = started_mono_s
        self.answer: RuntimeAnswer | None = None
        self.has_started = False  # START is in the log
        self.response_mono_s: float | None = None
        self.answered_mono_s: float | None = None

    def exchange(self, version: FunctionVersion) -> Exchange:
        """Return the event as the runtime gets it."""
        call = self.call
        invocation_id = new_uuid()
        deadline_ms = int((self.started_at.timestamp() + version.timeout_s) * 1000)
        # Developer guide, "Using the Lambda runtime API", next invocation; those that are empty are left out.
        headers = [
            ("Content-Type", "application/json"),
            ("Lambda-Runtime-Aws-Request-Id", call.request_id),
            ("Lambda-Runtime-Deadline-Ms", str(deadline_ms)),
            ("Lambda-Runtime-Invoked-Function-Arn", call.target.arn),
            ("Lambda-Runtime-Invocation-Id", invocation_id),
        ]
        if call.trace_header:
            headers.append(("Lambda-Runtime-Trace-Id", _header_text(call.trace_header)))
        if call.client_context:
            headers.append(("Lambda-Runtime-Client-Context", _header_text(call.client_context)))
        if call.tenant_id:
            headers.append(("Lambda-Runtime-Aws-Tenant-Id", _header_text(call.tenant_id)))
        # An empty body reaches the function as an empty object.
        return Exchange(call.request_id, invocation_id, headers, call.payload or b"{}", call.sink)

    def resolve(self, version: FunctionVersion, tail: bytes | None = None) -> None:
        """Give the caller the answer; nothing if he has it."""
        if self.answer is None or self.is_resolved:
            return
        answer = self.answer
        self.is_resolved = True
        self.done(
            InvocationResult(
                payload=answer.payload,
                content_type=answer.content_type,
                function_error=UNHANDLED if answer.error_type is not None else None,
                executed_version=version.version,
                log_tail=tail,
                trace_header=self.call.trace_header,
            )
        )

    def fail(self, error: HostError) -> None:
        """Tell the caller that there will be no answer; nothing if he has it."""
        if not self.is_resolved:
            self.is_resolved = True
            self.done(error)

    def spans(self, ended_mono_s: float) -> Sequence[tuple[str, datetime, float]]:
        """Return the parts of the run that platform.runtimeDone tells of."""
        response, answered = self.response_mono_s, self.answered_mono_s
        if response is None or answered is None:
            return ()
        start, at = self.started_mono_s, self.started_at
        return (
            ("responseLatency", at, _ms(response - start)),
            ("responseDuration", at + timedelta(seconds=response - start), _ms(answered - response)),
            ("runtimeOverhead", at + timedelta(seconds=answered - start), _ms(ended_mono_s - answered)),
        )

    def record(
        self,
        version: FunctionVersion,
        environment_id: EnvironmentId,
        *,
        ended_mono_s: float,
        init_duration_ms: float | None,
        max_memory_mib: int,
        status: Status,
        crash_type: str | None,
    ) -> InvocationRecord:
        """Return what logs, metrics and bills are made from."""
        answer, call = self.answer, self.call
        duration_ms = (ended_mono_s - self.started_mono_s) * 1000
        return InvocationRecord(
            request_id=call.request_id,
            scope=version.scope,
            function_name=version.name,
            qualifier=call.target.qualifier,
            version=version.version,
            environment_id=environment_id,
            started_at=self.started_at,
            duration_ms=duration_ms,
            # Developer guide, "Lambda execution environment lifecycle": since August 2025 the time of INIT is billed.
            billed_ms=math.ceil(round(duration_ms + (init_duration_ms or 0.0), 2)),
            memory_mib=version.memory_mib,
            max_memory_mib=min(max_memory_mib, version.memory_mib),
            init_duration_ms=init_duration_ms,
            status=status,
            # Recorded from AWS: REPORT names an Error Type for "Status: error", none for "Status: timeout".
            error_type=None if status is Status.TIMEOUT else crash_type or (answer.error_type if answer else None),
            is_function_error=answer is not None and answer.error_type is not None,
            trace_header=call.trace_header,
            tenant_id=call.tenant_id,
            response_bytes=answer.response_bytes if answer else 0,
            spans=tuple(self.spans(ended_mono_s)) if version.log.is_json else (),  # nobody else tells of them
        )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _header_text(text: str) -> str:
    """Return ``text`` as a header may hold it: JSON's line breaks are blanks, other characters travel as UTF-8."""
    if text.isascii() and text.isprintable():
        return text
    flat = "".join(" " if character in "\r\n\t\0" else character for character in text)
    return flat.encode().decode("latin-1")

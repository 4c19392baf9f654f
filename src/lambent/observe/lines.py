"""What the platform prints into a function's log: INIT_START to REPORT, and the platform.* events of JSON logs.

Pure text. Which of it is written is decided in ``stream_log`` with the levels given here; the Telemetry API uses the
same records. Sources: developer guide, "Lambda execution environment" and "Lambda Telemetry API Event schema
reference"; member order and number formats as in events recorded from AWS between 2024 and 2026.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, Final

import msgspec

from lambent.model.functions import LATEST, MIB, FunctionVersion
from lambent.model.ids import RequestId
from lambent.model.invocations import InitRecord, InvocationRecord, Status

ON_DEMAND: Final = "on-demand"

Record = dict[str, Any]  # the ``record`` of a platform event, by AWS's names and in AWS's order

_TRACE: Final = re.compile(r"(?:^|;)\s*(Root|Parent|Sampled)=([^;]*)")


class Level(IntEnum):
    """Log levels, the most detailed first."""

    TRACE = 1
    DEBUG = 2
    INFO = 3
    WARN = 4
    ERROR = 5
    FATAL = 6


# --- text ---------------------------------------------------------------------------------------------------------


def render_init_start(record: InitRecord) -> str | None:
    """Return INIT_START, or None for an environment without a runtime version (container images)."""
    if record.runtime_version is None:
        return None
    # Recorded from AWS: test_multi_line_prints.
    return f"INIT_START Runtime Version: {record.runtime_version}\tRuntime Version ARN: {record.runtime_version_arn}\n"


def render_init_report(record: InitRecord) -> str | None:
    """Return INIT_REPORT; None after a good on-demand init, of which REPORT tells."""
    # Developer guide, "Init phase": INIT_REPORT is written when init fails; always for provisioned concurrency.
    if record.status is Status.SUCCESS and record.initialization_type == ON_DEMAND:
        return None
    line = f"INIT_REPORT Init Duration: {record.duration_ms:.2f} ms\tPhase: {record.phase}"
    return f"{line}{_status_fields(record.status, record.error_type)}\n"


def render_start(request_id: RequestId, version: str) -> str:
    """Return START."""
    return f"START RequestId: {request_id} Version: {version}\n"


def render_end(request_id: RequestId) -> str:
    """Return END."""
    return f"END RequestId: {request_id}\n"


def render_report(record: InvocationRecord) -> str:
    """Return REPORT; for a sampled trace its second line belongs to the same event."""
    # Recorded from AWS: test_invocation_with_logs, down to the tab before the newline.
    line = (
        f"REPORT RequestId: {record.request_id}\tDuration: {record.duration_ms:.2f} ms\t"
        f"Billed Duration: {record.billed_ms} ms\tMemory Size: {record.memory_mib} MB\t"
        f"Max Memory Used: {record.max_memory_mib} MB\t"
    )
    if record.init_duration_ms is not None:
        line += f"Init Duration: {record.init_duration_ms:.2f} ms\t"
    line += _status_fields(record.status, record.error_type).removeprefix("\t")
    if not record.trace_header or not is_sampled(record.trace_header):
        return f"{line}\n"
    trace = dict(_TRACE.findall(record.trace_header))
    return f"{line}\nXRAY TraceId: {trace.get('Root', '')}\tSegmentId: {trace.get('Parent', '')}\tSampled: true\t\n"


def _status_fields(status: Status, error_type: str | None) -> str:
    # Developer guide, "Lambda execution environment": "Status: timeout", "Status: error  Error Type: …", nothing else.
    match status:
        case Status.SUCCESS:
            return ""
        case Status.TIMEOUT:
            return "\tStatus: timeout"
        case Status.ERROR | Status.FAILURE:
            return f"\tStatus: {status}" + (f"\tError Type: {error_type}" if error_type else "")


# --- platform events ----------------------------------------------------------------------------------------------


def init_start_record(record: InitRecord, version: FunctionVersion, stream: str) -> Record:
    """Return the record of platform.initStart."""
    return {
        "initializationType": record.initialization_type,
        "phase": record.phase,
        **_present(runtimeVersion=record.runtime_version, runtimeVersionArn=record.runtime_version_arn),
        "functionName": version.name,
        "functionVersion": version.version,
        "instanceId": stream,  # recorded from AWS: the log stream's name
        "instanceMaxMemory": version.memory_mib * MIB,  # recorded from AWS: in bytes
    }


def init_runtime_done_record(record: InitRecord) -> Record:
    """Return the record of platform.initRuntimeDone."""
    return {"initializationType": record.initialization_type, "phase": record.phase, **_status(record)}


def init_report_record(record: InitRecord) -> Record:
    """Return the record of platform.initReport."""
    return {**init_runtime_done_record(record), "metrics": {"durationMs": _milliseconds(record.duration_ms)}}


def start_record(request_id: RequestId, version: FunctionVersion) -> Record:
    """Return the record of platform.start."""
    arn = version.unqualified_arn if version.version == LATEST else version.arn
    return {"requestId": request_id, "functionArn": arn, "version": version.version}


def runtime_done_record(record: InvocationRecord) -> Record:
    """Return the record of platform.runtimeDone."""
    spans = [
        {"name": name, "start": render_time(start), "durationMs": _milliseconds(duration_ms)}
        for name, start, duration_ms in record.spans
    ]
    return {
        "requestId": record.request_id,
        **_status(record),
        **({"spans": spans} if spans else {}),
        "metrics": {"durationMs": _milliseconds(record.duration_ms), "producedBytes": record.response_bytes},
        **_context(record),
    }


def report_record(record: InvocationRecord) -> Record:
    """Return the record of platform.report."""
    metrics: Record = {
        "durationMs": _milliseconds(record.duration_ms),
        "billedDurationMs": record.billed_ms,
        "memorySizeMB": record.memory_mib,
        "maxMemoryUsedMB": record.max_memory_mib,
    }
    if record.init_duration_ms is not None:
        metrics["initDurationMs"] = _milliseconds(record.init_duration_ms)
    return {"requestId": record.request_id, "metrics": metrics, **_status(record), **_context(record)}


def logs_dropped_record(dropped_records: int, dropped_bytes: int) -> Record:
    """Return the record of platform.logsDropped."""
    # Telemetry API event schema reference, "platform.logsDropped".
    reason = "Some logs were dropped because the downstream consumer is slower than the logs production rate"
    return {"reason": reason, "droppedRecords": dropped_records, "droppedBytes": dropped_bytes}


def render_event(event_type: str, at: datetime, record: Mapping[str, Any]) -> str:
    """Return a platform event as JSON logs have it: compact, in order, without a newline."""
    # Recorded from AWS: events of the platform have no newline at their end, lines of the function have.
    event = {"time": render_time(at), "type": event_type, "record": record}
    return msgspec.json.encode(event).decode()


def render_time(at: datetime) -> str:
    """Return an instant as platform events write it: UTC, milliseconds, ``Z``."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def is_sampled(trace_header: str) -> bool:
    """Return whether a trace header says that its trace is sampled."""
    return "Sampled=1" in trace_header and dict(_TRACE.findall(trace_header)).get("Sampled") == "1"


def _milliseconds(duration_ms: float) -> float:
    return round(float(duration_ms), 3)  # recorded from AWS: three decimals at most, 5000.0 for a whole number


def _status(record: InitRecord | InvocationRecord) -> Record:
    return {"status": str(record.status), **_present(errorType=record.error_type)}


def _context(record: InvocationRecord) -> Record:
    context: Record = {}
    # Recorded from AWS: events of invocations that are not sampled have no ``tracing``, though they have a header.
    if record.trace_header and is_sampled(record.trace_header):
        context["tracing"] = {"type": "X-Amzn-Trace-Id", "value": record.trace_header}
    return {**context, **_present(tenantId=record.tenant_id)}


def _present(**members: str | None) -> Record:
    return {name: value for name, value in members.items() if value is not None}


# --- levels -------------------------------------------------------------------------------------------------------


# Developer guide, "Log-level filtering", "System log level event mapping": the table behind these three functions.


def init_start_level(record: InitRecord) -> Level:
    """Return the system level of platform.initStart."""
    return Level.DEBUG if record.runtime_version is None else Level.INFO


def done_level(status: Status) -> Level:
    """Return the system level of platform.initRuntimeDone and platform.runtimeDone."""
    return Level.DEBUG if status is Status.SUCCESS else Level.WARN


def init_report_level(record: InitRecord) -> Level:
    """Return the system level of platform.initReport."""
    if record.status is not Status.SUCCESS:
        return Level.WARN
    return Level.DEBUG if record.initialization_type == ON_DEMAND else Level.INFO


def report_level(status: Status) -> Level:
    """Return the system level of platform.report; that of platform.start is always INFO, of logsDropped WARN."""
    return Level.INFO if status is Status.SUCCESS else Level.WARN

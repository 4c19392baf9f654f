"""The log of one execution environment, written to its log stream: format, levels, and the tail for the caller."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from lambent.model.functions import FunctionVersion
from lambent.model.ids import EnvironmentId, RequestId
from lambent.model.invocations import LOG_TAIL_LIMIT_BYTES, InitRecord, InvocationRecord
from lambent.observe import lines
from lambent.observe.application_lines import parse_level, read_application_line
from lambent.observe.lines import Level
from lambent.observe.log_events import cut_message, to_ms
from lambent.observe.log_names import stream_name
from lambent.observe.log_writer import LogWriter

_TAIL_SLACK_BYTES: Final = 16 * LOG_TAIL_LIMIT_BYTES  # the tail is cut when it grew to this, not with every line


class StreamEnvironmentLog:
    """An ``EnvironmentLog``. One environment, one log stream; calls neither block nor fail."""

    def __init__(self, writer: LogWriter, version: FunctionVersion, environment_id: EnvironmentId, at: datetime):
        self.group = version.log.group
        self.stream = stream_name(version, environment_id, at)
        self._version = version
        self._writer = writer
        self._is_json = version.log.is_json
        # Developer guide, "Log-level filtering": both levels are INFO unless set, and exist with JSON only.
        self._application_level = parse_level(version.log.application_level) or Level.INFO
        self._system_level = parse_level(version.log.system_level) or Level.INFO
        self._buffer = writer.open_stream(version.scope, self.group, self.stream, is_json=self._is_json)
        self._tail: bytearray | None = None

    def init_started(self, record: InitRecord) -> None:
        """Write INIT_START or platform.initStart."""
        if self._is_json:
            level = lines.init_start_level(record)
            fields = lines.init_start_record(record, self._version, self.stream)
            self._event("platform.initStart", record.started_at, fields, level)
        elif (text := lines.render_init_start(record)) is not None:
            self._write(text.encode(), record.started_at)

    def init_ended(self, record: InitRecord) -> None:
        """Write INIT_REPORT where AWS does, or platform.initRuntimeDone and platform.initReport."""
        at = _after(record.started_at, record.duration_ms)
        if self._is_json:
            done = lines.init_runtime_done_record(record)
            self._event("platform.initRuntimeDone", at, done, lines.done_level(record.status))
            self._event("platform.initReport", at, lines.init_report_record(record), lines.init_report_level(record))
        elif (text := lines.render_init_report(record)) is not None:
            self._write(text.encode(), at)

    def invocation_started(self, request_id: RequestId, version: str, at: datetime, *, wants_tail: bool) -> None:
        """Write START or platform.start; keep the tail from here on if it is wanted."""
        self._tail = bytearray() if wants_tail else None
        if self._is_json:
            self._event("platform.start", at, lines.start_record(request_id, self._version), Level.INFO)
        else:
            self._write(lines.render_start(request_id, version).encode(), at)

    def output(self, message: bytes, at: datetime, *, level: str | None = None) -> None:
        """Write one event of the function, unless its level is below the application log level."""
        if self._is_json:
            line = read_application_line(message)
            if (parse_level(level) or line.level) < self._application_level:
                return
            # Recorded from AWS: with JSON, an event has the time that its line gives itself.
            at = line.at or at
        for piece in cut_message(message):
            self._write(piece, at)

    def invocation_ended(self, record: InvocationRecord) -> None:
        """Write END and REPORT, or platform.runtimeDone and platform.report."""
        at = _after(record.started_at, record.duration_ms)
        if self._is_json:
            done = lines.runtime_done_record(record)
            self._event("platform.runtimeDone", at, done, lines.done_level(record.status))
            self._event("platform.report", at, lines.report_record(record), lines.report_level(record.status))
        else:
            self._write(lines.render_end(record.request_id).encode(), at)
            self._write(lines.render_report(record).encode(), at)

    def take_tail(self) -> bytes:
        """Return the last 4,096 bytes of this invocation's log, and forget it."""
        tail, self._tail = self._tail, None
        return bytes(tail[-LOG_TAIL_LIMIT_BYTES:]) if tail else b""

    def _event(self, event_type: str, at: datetime, record: Mapping[str, Any], level: Level) -> None:
        if level >= self._system_level:
            self._write(lines.render_event(event_type, at, record).encode(), at)

    def _write(self, message: bytes, at: datetime) -> None:
        if not message:
            return  # API reference, InputLogEvent: a message has at least one character
        self._writer.add(self._buffer, to_ms(at), message)
        if self._tail is None:
            return
        self._tail += message
        if not message.endswith(b"\n"):
            self._tail += b"\n"
        if len(self._tail) > _TAIL_SLACK_BYTES:
            del self._tail[:-LOG_TAIL_LIMIT_BYTES]


def _after(start: datetime, duration_ms: float) -> datetime:
    return start + timedelta(milliseconds=duration_ms)

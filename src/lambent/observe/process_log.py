"""Our own log: JSON lines in production, readable at a terminal. ``assembly`` configures it, once a process.

What a function prints never comes here. What is secret never leaves: fields with such names are hidden, bytes are
counted, and key ids and signatures are cut out of texts.
"""

import contextlib
import json
import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

LogFormat = Literal["auto", "json", "text"]

HIDDEN: Final = "[hidden]"

_SECRET_NAME: Final = re.compile(
    r"secret|password|passwd|token|credential|authorization|signature$|cookie|private_?key|access_?key"
    r"|^environ(ment)?$|^variables$|^payload$|^body$|^headers$",
    re.IGNORECASE,
)
_SECRET_TEXT: Final = re.compile(
    r"(?P<key>(?:AKIA|ASIA)[A-Z0-9]{12,})|(?P<name>Signature=|X-Amz-Signature=|X-Amz-Security-Token=|Bearer\s+)[^\s&,\"']+"
)
_NESTING_LIMIT: Final = 4


def configure_process_log(
    log_format: LogFormat = "auto", *, level: int = logging.INFO, stream: TextIO | None = None
) -> None:
    """Set up structlog and the standard library's logging for this process. ``auto``: text at a terminal."""
    out = LastingStream(stream or sys.stderr)
    is_text = log_format == "text" or (log_format == "auto" and out.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.StackInfoRenderer(),
    ]
    endings: list[Processor] = (
        [
            hide_secrets,
            structlog.dev.ConsoleRenderer(
                colors=out.isatty(),
                timestamp_key="at",
                exception_formatter=structlog.dev.plain_traceback,  # the default prints locals: payloads, secrets
            ),
        ]
        if is_text
        else [structlog.processors.format_exc_info, hide_secrets, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *endings],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", out)),
        cache_logger_on_first_use=False,
    )
    _configure_libraries(shared, endings, out)


class LastingStream:
    """A stream whose trouble is no failure of who logs: on a full disk lines are dropped, and counted afterwards."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._dropped = 0

    def isatty(self) -> bool:
        """Whether somebody reads it at a terminal."""
        return self._out.isatty()

    def write(self, text: str) -> int:
        """Write ``text``, or count it."""
        try:
            if self._dropped:
                self._out.write(json.dumps({"event": "log_lines_dropped", "lines": self._dropped}) + "\n")
                self._out.flush()
                self._dropped = 0
            self._out.write(text)
        except OSError:
            self._dropped += 1
        return len(text)

    def flush(self) -> None:
        """Let what was written go on its way."""
        with contextlib.suppress(OSError):
            self._out.flush()


def _configure_libraries(shared: list[Processor], endings: list[Processor], out: LastingStream) -> None:
    """Let libraries that log by the standard library speak in the same voice, from warnings on.

    Never more: at lower levels HTTP and AWS clients log requests with their headers.
    """
    handler = logging.StreamHandler(cast("TextIO", out))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *endings],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)


def hide_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Return the event without what may not be logged. The last processor but the renderer."""
    return _hidden(event, 0)


def _hidden(fields: Mapping[str, Any], depth: int) -> MutableMapping[str, Any]:
    # "exc_info" is rendered by the console itself; JSON has it as the text "exception" by now.
    return {
        name: HIDDEN if _SECRET_NAME.search(str(name)) else _safe(value, depth) if name != "exc_info" else value
        for name, value in fields.items()
    }


def _safe(value: Any, depth: int) -> Any:
    match value:
        case str():
            return _SECRET_TEXT.sub(lambda found: f"{found['name'] or ''}{HIDDEN}", value)
        case bytes() | bytearray() | memoryview():
            return f"<{len(value)} bytes>"
        case int() | float() | bool() | None:
            return value
        case _ if depth >= _NESTING_LIMIT:
            return f"<{type(value).__name__}>"
        case Mapping():
            return dict(_hidden(value, depth + 1))
        case list() | tuple() | set() | frozenset():
            return [_safe(inner, depth + 1) for inner in value]
        case _:
            return _safe(str(value), depth)

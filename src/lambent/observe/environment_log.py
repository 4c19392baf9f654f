"""The log of one execution environment: what it is told. The renderer and the store come behind it."""

from datetime import datetime
from typing import Protocol

from lambent.model.ids import RequestId
from lambent.model.invocations import InitRecord, InvocationRecord


class EnvironmentLog(Protocol):
    """One log stream. Calls never block and never fail: what cannot be written is counted and said in our own log.

    Order of calls is order of events. Lines of the function are split at newlines by the caller's pipe reader.
    """

    def init_started(self, record: InitRecord) -> None:
        """Write INIT_START (or platform.initStart), if format and level ask for it."""
        ...

    def init_ended(self, record: InitRecord) -> None:
        """Write INIT_REPORT (or platform.initRuntimeDone, platform.initReport) where AWS does."""
        ...

    def invocation_started(self, request_id: RequestId, version: str, at: datetime, *, wants_tail: bool) -> None:
        """Write START (or platform.start); from here on the tail is kept if ``wants_tail``."""
        ...

    def output(self, message: bytes, at: datetime, *, level: str | None = None) -> None:
        """Write one event of the function: a line of stdout or stderr, or one framed message of descriptor 62.

        A line comes with its newline, as AWS keeps it; only the last of a program that ended may have none. A framed
        message comes as it is.
        """
        ...

    def invocation_ended(self, record: InvocationRecord) -> None:
        """Write END and REPORT (or platform.runtimeDone, platform.report)."""
        ...

    def take_tail(self) -> bytes:
        """Return the last 4,096 bytes of this invocation's log, text as in CloudWatch, and forget it."""
        ...

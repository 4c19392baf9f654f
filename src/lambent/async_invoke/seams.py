"""What asynchronous invocation needs of others, as its own Protocols; ``assembly`` passes in the real things."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from lambent.model.functions import FunctionVersion
from lambent.model.ids import Scope
from lambent.model.invocations import InvocationResult, InvokeCall, Target


class Invoker(Protocol):
    """The road of an invocation (``invoke``)."""

    async def invoke(self, call: InvokeCall) -> InvocationResult:
        """Run ``call`` to its end; with ``is_dry_run`` only check it. CallerError or HostError if it cannot be run."""
        ...


class Functions(Protocol):
    """What is invocable now (``invoke``)."""

    def resolve(self, target: Target) -> FunctionVersion:
        """Return the version that ``target`` names now. ResourceNotFound, ResourceConflict."""
        ...


class EventMetrics(Protocol):
    """Takes AWS's metrics of asynchronous invocation (``observe``)."""

    def record_value(
        self, metric: str, value: float, *, scope: Scope, function_name: str, qualifier: str | None, at: datetime
    ) -> None:
        """Note one measurement: AsyncEventsReceived, AsyncEventAge, AsyncEventsDropped …"""
        ...


class Neighbours(Protocol):
    """Asks other AWS services, wherever they are configured to be (``neighbours``)."""

    async def call(
        self, service: str, operation: str, scope: Scope, parameters: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return the answer to one operation, by botocore's names. Raises ``model.errors.NeighbourRefusal``."""
        ...

"""Asynchronous invocation and the neighbours, put together from the settings."""

from collections.abc import Mapping
from dataclasses import dataclass

from lambent.assembly.clock import SystemClock
from lambent.async_invoke.invocation import AsyncInvocation, Peers
from lambent.async_invoke.shares import ShareLimits
from lambent.config import Settings
from lambent.environment.cell_pool import CellPool
from lambent.environment.environments import Environments
from lambent.frontend.payload import parse_event
from lambent.invoke.functions import FunctionView
from lambent.invoke.invoker import Invoker
from lambent.neighbours.clients import NeighbourClients
from lambent.observe.metrics import FunctionMetrics
from lambent.store.contract import Store


@dataclass(frozen=True, slots=True)
class DataPlane:
    """The road of an invocation, the view of functions that it reads, and where measurements go."""

    view: FunctionView
    invoker: Invoker
    metrics: FunctionMetrics
    environments: Environments
    cells: CellPool

    def status(self) -> Mapping[str, object]:
        """Return what is there at this moment."""
        environments = {"all": self.environments.count, "idle": self.environments.idle_count}
        return {"environments": environments, "cells": {"ready": dict(self.cells.ready), "taken": self.cells.taken}}


def build_async_invocation(
    settings: Settings, store: Store, plane: DataPlane, neighbours: NeighbourClients, clock: SystemClock
) -> AsyncInvocation:
    """Return asynchronous invocation; it does nothing before it is ``running``."""
    peers = Peers(
        invoker=plane.invoker,
        functions=plane.view,
        neighbours=neighbours,
        metrics=plane.metrics,
        clock=clock,
        check_payload=parse_event,
    )
    # Half of the environments: whoever calls and waits finds room beside whatever is queued.
    half = max(min(settings.max_environments, settings.concurrency_limit) // 2, 1)
    return AsyncInvocation(store.queue, store.documents, peers, ShareLimits(total=half, first_window=min(half, 8)))

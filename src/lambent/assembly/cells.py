"""Wires the pool of stem cells: how many this host may have, who makes them, whose functions are born from them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from lambent.config import Settings
from lambent.environment.cell_key import CellKey, decide_cell_key
from lambent.environment.cell_pool import CellLimits, CellPool
from lambent.environment.deadlines import Deadlines
from lambent.environment.placement import PoolLimits
from lambent.environment.stem_cells import CELL_MEMORY_MIB, CellTools, open_cell
from lambent.model.functions import FunctionVersion
from lambent.runtimes.catalogue import RuntimeCatalogue

# The part of the memory budget that cells may promise.
_SHARE_OF_BUDGET: Final = 8


def count_cells(settings: Settings, budget_mib: int) -> int:
    """Return how many cells this host may have, of whatever runtime. None for a driver that isolates nothing."""
    if settings.driver != "bubblewrap":
        return 0
    return min(settings.max_cells, budget_mib // _SHARE_OF_BUDGET // CELL_MEMORY_MIB)


def without_cells(limits: PoolLimits, max_cells: int) -> PoolLimits:
    """Return what is left for environments."""
    return replace(limits, memory_budget_mib=limits.memory_budget_mib - max_cells * CELL_MEMORY_MIB)


def build_cells(max_cells: int, tools: CellTools, deadlines: Deadlines, starting: Callable[[], int]) -> CellPool:
    """Return the pool; ``starting`` tells how many environments are being started."""
    catalogue = RuntimeCatalogue.load()

    def decide_key(version: FunctionVersion) -> CellKey | None:
        runtime = catalogue.find(version.runtime)
        decided = decide_cell_key(version, runtime) if runtime is not None else None
        return decided if isinstance(decided, CellKey) else None

    return CellPool(
        decide_key,
        lambda key: open_cell(key, tools),
        CellLimits(max_cells=max_cells),
        tools.clock,
        deadlines,
        is_busy=lambda: starting() > 0,
    )

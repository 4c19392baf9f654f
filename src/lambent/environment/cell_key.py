"""Which prepared sandboxes a function may be born from: the pure decision, and why not where it may not."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from lambent.environment.limits import decide_limits
from lambent.model.functions import FunctionVersion
from lambent.runtimes.catalogue import Family, Runtime

# The disk of a sandbox has its size from its beginning. Developer guide, "Configure ephemeral storage": the default.
CELL_TMP_MIB: Final = 512
# Their program starts with options made of the memory size.
_KEYED_BY_MEMORY: Final = (Family.NODEJS,)
_WITH_CELLS: Final = (Family.PYTHON, Family.NODEJS)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellKey:
    """All that is settled before a function is known. Cells never pass from one account to another."""

    account_id: str
    runtime: str
    architecture: str
    egress: str
    is_json: bool  # clients read the log format and level when they are loaded
    level: str | None
    processes: int  # a process keeps the limit that it was started with
    memory_mib: int | None = None  # None: any


@dataclass(frozen=True, slots=True)
class Spawned:
    """The function gets a fresh process for every environment. ``reason`` is for its owner."""

    reason: str


def decide_cell_key(version: FunctionVersion, runtime: Runtime) -> CellKey | Spawned:
    """Return the key of the cells that ``version`` may be born from, or why it may not."""
    spawned = decide_spawned(runtime, (name for name, _ in version.environment), version.tmp_mib)
    if spawned is not None:
        return spawned
    return CellKey(
        account_id=version.scope.account_id,
        runtime=version.runtime,
        architecture=version.architecture,
        egress=version.egress,
        is_json=version.log.is_json,
        processes=decide_limits(version).processes,
        level=version.log.application_level if version.log.is_json else None,
        memory_mib=version.memory_mib if runtime.family in _KEYED_BY_MEMORY else None,
    )


def decide_spawned(runtime: Runtime, variables: Iterable[str], tmp_mib: int) -> Spawned | None:
    """Return why a function of ``runtime`` with these settings cannot be born from a cell; None if it can."""
    if runtime.family not in _WITH_CELLS:
        return Spawned(f"{runtime.identifier} is started anew for every environment")
    if early := runtime.find_early_variables(sorted(variables)):
        verb = "act" if len(early) > 1 else "acts"
        return Spawned(f"{', '.join(early)} {verb} before the runtime starts")
    if tmp_mib != CELL_TMP_MIB:
        return Spawned(f"its /tmp has {tmp_mib} MB, and prepared sandboxes have {CELL_TMP_MIB} MB")
    return None

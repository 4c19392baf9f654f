"""What a function's memory size allows its environment besides memory."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from lambent.model.functions import FunctionVersion
from lambent.sandbox.driver import Limits, Refusal

# Developer guide, "Lambda quotas": file descriptors 1,024, execution processes and threads 1,024.
PROCESSES_LIMIT: Final = 1024
# Recorded from AWS: 742 at 128 MB. Linux gives half of one thread for every 128 KiB, so four for every MiB more.
_PROCESSES_AT_LEAST, _LEAST_MEMORY_MIB, _PROCESSES_PER_MIB = 742, 128, 4

# Developer guide, "Configure Lambda function memory": 1,769 MB are one vCPU. INIT gets more than a small share (seen).
MIB_PER_VCPU: Final = 1769
INIT_VCPUS: Final = 2.0


def decide_limits(version: FunctionVersion) -> Limits:
    """Return the limits of an environment of ``version`` while it serves, without those on CPU."""
    more_mib = max(0, version.memory_mib - _LEAST_MEMORY_MIB)
    processes = min(PROCESSES_LIMIT, _PROCESSES_AT_LEAST + _PROCESSES_PER_MIB * more_mib)
    return Limits(memory_mib=version.memory_mib, tmp_mib=version.tmp_mib, processes=processes)


def decide_init_limits(limits: Limits, refusals: Sequence[Refusal]) -> Limits:
    """Return ``limits`` with those on CPU that hold until INIT is over, where this host can limit CPU at all."""
    if any(refusal.setting == "cpu_share" for refusal in refusals):
        return limits
    return replace(limits, cpu_share=INIT_VCPUS)

"""Which status follows: pure decisions on the two steps from a spec to a settled function.

Step one puts the spec into ``live``, so that the data plane runs it; step two, once every view has it, says so.
"""

from dataclasses import replace
from typing import Final

from lambent.model.documents import (
    CREATING_CODE,
    FunctionSpec,
    FunctionStatus,
    State,
    UpdateStatus,
    is_born_live,
    joined_status,
)
from lambent.model.ids import RevisionId

# Service model, StateReasonCode.
INVALID_RUNTIME: Final = "InvalidRuntime"
INTERNAL_ERROR: Final = "InternalError"
# A failure with this reason may end by itself, when the host gets what it lacked.
_CURABLE: Final = frozenset({INVALID_RUNTIME, INTERNAL_ERROR})


def is_settled(spec: FunctionSpec, status: FunctionStatus | None) -> bool:
    """Return whether ``status`` is the last word on ``spec``, good or bad."""
    if is_born_live(spec):
        return True
    return (
        status is not None
        and status.first_generation == spec.first_generation
        and status.generation == spec.generation
        and status.state_reason_code != CREATING_CODE
        and status.last_update_status_reason_code != CREATING_CODE
    )


def is_curable(status: FunctionStatus) -> bool:
    """Return whether trying again may help, with the spec as it is."""
    return status.state_reason_code in _CURABLE or status.last_update_status_reason_code in _CURABLE


def says(status: FunctionStatus, reason: str) -> bool:
    """Return whether ``status`` gives ``reason`` for a failure already."""
    return reason in (status.state_reason, status.last_update_status_reason)


def decide_live(spec: FunctionSpec, status: FunctionStatus | None) -> FunctionStatus:
    """Return the status with ``spec`` live and everything else as answers show it already."""
    return replace(joined_status(spec, status), live=spec)


def decide_ready(spec: FunctionSpec, revision_id: RevisionId, runtime_version_arn: str) -> FunctionStatus:
    """Return the status of a function that is ready."""
    # Recorded from AWS: Active and Successful, no reasons, a new RevisionId.
    return FunctionStatus(
        generation=spec.generation,
        first_generation=spec.first_generation,
        live=spec,
        state=State.ACTIVE,
        last_update_status=UpdateStatus.SUCCESSFUL,
        revision_id=revision_id,
        runtime_version_arn=runtime_version_arn,
    )


def decide_failed(
    spec: FunctionSpec, status: FunctionStatus | None, revision_id: RevisionId, *, code: str, reason: str
) -> FunctionStatus:
    """Return the status after set-up failed.

    Developer guide, "Lambda function states": a new function is Failed; an updated one goes on with what it had,
    and only the update is Failed.
    """
    base = joined_status(spec, status)
    live = base.live if base.live is not None and base.live.generation != spec.generation else None
    is_creation = live is None
    has_update = status is not None and base.last_update_status is not None
    return FunctionStatus(
        generation=spec.generation,
        first_generation=spec.first_generation,
        live=live,
        state=State.FAILED if is_creation else State.ACTIVE,
        state_reason=reason if is_creation else None,
        state_reason_code=code if is_creation else None,
        last_update_status=UpdateStatus.FAILED if has_update else None,
        last_update_status_reason=reason if has_update else None,
        last_update_status_reason_code=code if has_update else None,
        revision_id=revision_id,
        runtime_version_arn=base.runtime_version_arn,
    )

"""Which status follows from which: as the developer guide, "Lambda function states", and records of AWS have it."""

from dataclasses import replace

import pytest

from lambent.model.documents import CREATING_REASON, FunctionStatus, State, UpdateStatus, joined_status
from lambent.model.ids import RevisionId
from lambent.reconcile.settling import decide_failed, decide_live, decide_ready, is_curable, is_settled

from .conftest import SECOND_CODE, spec

NEW, NEXT = RevisionId("new"), RevisionId("next")
CREATED, UPDATED = spec(), spec(generation=11, digest=SECOND_CODE)
READY = decide_ready(CREATED, NEW, "arn:runtime")


def failed(wanted, status):
    return decide_failed(wanted, status, NEXT, code="InvalidRuntime", reason="no such runtime")


def states(status: FunctionStatus):
    return (
        status.state,
        status.state_reason_code,
        status.last_update_status,
        status.last_update_status_reason_code,
        status.live_generation,
    )


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param(decide_live(CREATED, None), (State.PENDING, "Creating", None, None, 10), id="created-is-live"),
        pytest.param(READY, (State.ACTIVE, None, UpdateStatus.SUCCESSFUL, None, 10), id="created-is-ready"),
        pytest.param(
            decide_live(UPDATED, READY),
            (State.ACTIVE, None, UpdateStatus.IN_PROGRESS, "Creating", 11),
            id="updated-is-live",
        ),
        pytest.param(
            decide_ready(UPDATED, NEXT, "arn"),
            (State.ACTIVE, None, UpdateStatus.SUCCESSFUL, None, 11),
            id="updated-is-ready",
        ),
        pytest.param(failed(CREATED, None), (State.FAILED, "InvalidRuntime", None, None, None), id="creation-failed"),
        pytest.param(
            failed(UPDATED, READY),
            (State.ACTIVE, None, UpdateStatus.FAILED, "InvalidRuntime", 10),
            id="update-failed-and-the-old-goes-on",
        ),
        pytest.param(
            failed(UPDATED, failed(CREATED, None)),
            (State.FAILED, "InvalidRuntime", UpdateStatus.FAILED, "InvalidRuntime", None),
            id="update-of-a-failed-one-failed",
        ),
        pytest.param(
            failed(CREATED, decide_live(CREATED, None)),
            (State.FAILED, "InvalidRuntime", None, None, None),
            id="killed-between-the-two-steps-then-failed",
        ),
        pytest.param(
            failed(replace(CREATED, generation=5, first_generation=5), READY),
            (State.FAILED, "InvalidRuntime", None, None, None),
            id="a-namesake's-past-says-nothing",
        ),
    ],
)
def test_the_status_that_follows(status, expected):
    assert states(status) == expected


def test_only_the_last_word_is_settled():
    assert is_settled(CREATED, READY)
    assert is_settled(CREATED, failed(CREATED, None))
    assert is_settled(UPDATED, failed(UPDATED, READY))
    assert not is_settled(CREATED, None)
    assert not is_settled(CREATED, decide_live(CREATED, None))
    assert not is_settled(UPDATED, decide_live(UPDATED, READY))
    assert not is_settled(UPDATED, READY)
    assert not is_settled(replace(CREATED, first_generation=9), READY)


def test_what_the_host_lacks_is_curable_and_a_ready_function_is_not():
    assert is_curable(failed(CREATED, None))
    assert is_curable(failed(UPDATED, READY))
    assert not is_curable(READY)


def test_going_live_shows_callers_nothing_new():
    for wanted, status in ((CREATED, None), (UPDATED, READY)):
        before = joined_status(wanted, status)
        assert replace(joined_status(wanted, decide_live(wanted, status)), live=None) == replace(before, live=None)
    assert joined_status(CREATED, decide_live(CREATED, None)).state_reason == CREATING_REASON


def test_a_ready_function_shows_its_runtime_version_and_a_new_revision():
    assert (READY.runtime_version_arn, READY.revision_id) == ("arn:runtime", "new")

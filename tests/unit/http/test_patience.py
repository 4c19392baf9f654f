"""How long a connection waits, for what."""

from math import inf

import pytest

from lambent.http.limits import PATIENT, HttpLimits
from lambent.http.patience import Waiting, decide_patience_s

LIMITS = HttpLimits(
    idle_timeout_s=1,
    head_timeout_s=2,
    body_timeout_s=3,
    body_rate_bytes=10,
    write_timeout_s=4,
    write_rate_bytes=100,
    half_close_timeout_s=5,
    linger_s=6,
)


@pytest.mark.parametrize(
    ("waiting", "body_bytes", "unsent_bytes", "expected"),
    [
        pytest.param(Waiting.REQUEST, 0, 0, 1, id="idle"),
        pytest.param(Waiting.HEAD, 0, 0, 2, id="head"),
        pytest.param(Waiting.BODY, 0, 0, 3, id="body"),
        pytest.param(Waiting.BODY, 50, 0, 8, id="body-that-comes"),
        pytest.param(Waiting.READER, 0, 1000, 14, id="large-answer"),
        pytest.param(Waiting.END, 0, 0, 5, id="half-closed"),
        pytest.param(Waiting.LINGER, 0, 0, 6, id="after-our-end"),
        pytest.param(Waiting.LINGER, 0, 1, 4, id="after-our-end-with-bytes-unsent"),
        pytest.param(Waiting.ANSWER, 50, 50, inf, id="our-own-work"),
    ],
)
def test_patience_is_bounded_by_what_is_waited_for(waiting, body_bytes, unsent_bytes, expected):
    assert decide_patience_s(waiting, LIMITS, body_bytes=body_bytes, unsent_bytes=unsent_bytes) == expected


@pytest.mark.parametrize("waiting", [Waiting.REQUEST, Waiting.HEAD, Waiting.BODY, Waiting.READER, Waiting.ANSWER])
def test_patient_limits_wait_for_ever(waiting):
    assert decide_patience_s(waiting, PATIENT, body_bytes=0, unsent_bytes=0) == inf


def test_patient_limits_do_not_wait_for_a_peer_that_went():
    assert decide_patience_s(Waiting.END, PATIENT, body_bytes=0, unsent_bytes=0) == 0

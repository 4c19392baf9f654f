"""Which functions are born from which cells, and how many cells there are to be."""

from dataclasses import replace

import pytest

from lambent.environment.cell_demand import Demand, close_windows, count_arrival, decide_target
from lambent.environment.cell_key import CellKey, Spawned, decide_cell_key
from lambent.model.functions import LogSettings
from lambent.model.ids import Scope
from lambent.runtimes.catalogue import RuntimeCatalogue

CATALOGUE = RuntimeCatalogue.load()


def key_of(version, **changes):
    changed = replace(version, **changes)
    return decide_cell_key(changed, CATALOGUE.find(changed.runtime))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"scope": Scope("222222222222", "us-east-1")}, id="another-account"),
        pytest.param({"runtime": "python3.12"}, id="another-runtime"),
        pytest.param({"architecture": "arm64"}, id="another-architecture"),
        pytest.param({"egress": "internet"}, id="another-way-out"),
        pytest.param({"log": LogSettings(group="g", is_json=True)}, id="another-log-format"),
        pytest.param({"memory_mib": 1769}, id="another-limit-of-processes"),
    ],
)
def test_functions_that_differ_before_the_start_share_no_cell(kit, changes):
    assert isinstance(key_of(kit.VERSION), CellKey)
    assert key_of(kit.VERSION, **changes) != key_of(kit.VERSION)


def test_a_level_of_json_logs_is_of_the_key_and_that_of_text_is_not(kit):
    info, debug = (LogSettings(group="g", is_json=True, application_level=level) for level in ("INFO", "DEBUG"))
    assert key_of(kit.VERSION, log=info) != key_of(kit.VERSION, log=debug)
    text = replace(debug, is_json=False)
    assert key_of(kit.VERSION, log=text) == key_of(kit.VERSION)


def test_functions_that_differ_after_the_start_share_cells(kit):
    version = replace(kit.VERSION, name="other", handler="a.b", memory_mib=2048, environment=(("TZ", "Asia/Tokyo"),))
    other = replace(version, memory_mib=1024, scope=Scope(version.scope.account_id, "eu-west-1"), timeout_s=900)
    assert key_of(version) == key_of(other)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"environment": (("LD_PRELOAD", "x"),)}, "LD_PRELOAD acts before the runtime starts"),
        ({"environment": (("PYTHONPATH", "x"), ("MALLOC_ARENA_MAX", "1"))}, "MALLOC_ARENA_MAX, PYTHONPATH act before"),
        ({"environment": (("AWS_LAMBDA_EXEC_WRAPPER", "x"),)}, "AWS_LAMBDA_EXEC_WRAPPER"),
        ({"environment": (("LAMBDA_DISABLE_PREVIEW_WARN", "1"),)}, "LAMBDA_DISABLE_PREVIEW_WARN"),
        ({"tmp_mib": 1024}, "its /tmp has 1024 MB"),
        ({"runtime": "provided.al2023"}, "started anew"),
    ],
)
def test_what_acts_before_the_start_is_spawned_in_words(kit, changes, words):
    spawned = key_of(kit.VERSION, **changes)
    assert isinstance(spawned, Spawned)
    assert words in spawned.reason


# --- demand


def demand(*arrivals_by_second):
    state = Demand(window_mono_s=0.0, last_mono_s=0.0)
    for second, count in enumerate(arrivals_by_second):
        for number in range(count):
            state = count_arrival(state, second + number / (count + 1))
    return state


def target(state, now, make_s=0.1):
    return decide_target(state, now_mono_s=now, make_s=make_s, keep_s=600)


def test_one_is_kept_until_nobody_came_for_long():
    state = demand(1)
    assert [target(state, now) for now in (10, 60, 599)] == [1, 1, 1]
    assert target(state, 600) == 0


def test_more_arrivals_want_more_cells_and_their_target_fades():
    few, many = demand(*[1] * 20), demand(*[10] * 20)
    assert 1 <= target(few, 20) < target(many, 20)
    assert 10 <= target(many, 20) <= 20
    assert target(many, 20) > target(many, 30) >= target(many, 60) == 1


def test_demand_that_varies_wants_more_than_its_mean():
    steady, bursts = demand(*[4] * 40), demand(*[0, 0, 0, 16] * 10)
    assert target(bursts, 40) > target(steady, 40)


def test_what_is_made_slowly_is_made_in_advance():
    state = demand(*[3] * 20)
    assert target(state, 20, make_s=3.0) > target(state, 20, make_s=0.1)


def test_a_burst_counts_at_once():
    assert target(demand(*[0] * 20, 30), 20.9) > 6


def test_windows_without_arrivals_are_closed_together():
    state = demand(5)
    at_once = close_windows(state, 7.5)
    one_by_one = state
    for second in range(1, 8):
        one_by_one = close_windows(one_by_one, second + 0.5)
    assert at_once.mean == pytest.approx(one_by_one.mean)
    assert at_once.square == pytest.approx(one_by_one.square)

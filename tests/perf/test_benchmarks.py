"""Every benchmark in a short form: it runs, counts what it should, and its verdicts follow from its numbers."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.bench import at_least, at_most, write_rows
from benchmarks.cold import measure_cold
from benchmarks.defences import DEFENCES, measure_defences
from benchmarks.freezing import measure_freezing
from benchmarks.functions import caches
from benchmarks.goals import measure_peers, measure_scale, measure_warm
from benchmarks.inside import measure_inside
from benchmarks.plan import Plan

ROOT = Path(__file__).parents[2]
PLAN = Plan(rounds=1, calls=40, calls_each=10, spawns=1, cold=2, functions=25, idle_s=0.5, peer_calls=1)

needs_sandboxes = pytest.mark.skipif(
    shutil.which("bwrap") is None, reason="bubblewrap is not installed: apt install bubblewrap"
)


def require_sound(rows, goals):
    assert [row.goal for row in rows] == goals
    for row in rows:
        assert row.ratio > 0
        assert row.rounds == PLAN.rounds
        assert row.holds or row.limit is not None


@needs_sandboxes
def test_warm_path_is_measured_beside_its_floor_and_a_bare_answer():
    rows = measure_warm(PLAN)
    require_sound(rows, [1, 2, 3, 3])
    # Not a verdict on speed: H does a part of what Lambent does, so that less could only be a wrong measurement.
    assert rows[1].ratio > 1


@needs_sandboxes
def test_freezing_is_measured_beside_the_same_server_without():
    require_sound(measure_freezing(PLAN), [10, 10, 10, 0])


@needs_sandboxes
@pytest.mark.timeout(180)  # three servers
def test_defences_are_measured_beside_the_same_server_without():
    require_sound(measure_defences(PLAN), [0, 0] * len(DEFENCES))


@needs_sandboxes
def test_calls_from_function_to_function_are_measured_beside_the_floor():
    require_sound(measure_inside(PLAN), [15, 0, 0])


@needs_sandboxes
@pytest.mark.timeout(180)  # two runtimes are installed for it
def test_cold_starts_are_measured_beside_the_drivers_own():
    require_sound(measure_cold(PLAN), [4, 4, 4, 5, 7, 12])


@needs_sandboxes
@pytest.mark.timeout(120)  # six servers, started and settled one after the other
def test_many_functions_are_measured_beside_ten():
    require_sound(measure_scale(PLAN), [14, 14, 14, 14])


@needs_sandboxes
@pytest.mark.skipif(
    not (caches() / "peers/stamp").exists(), reason="the peers are not installed: ./dev bench --only peers"
)
def test_peers_are_measured_in_the_same_run():
    require_sound(measure_peers(PLAN), [11, 11, 11, 11, 11])


@pytest.mark.parametrize(
    ("module", "options"), [("http_server", ["--rounds", "1", "--requests", "20"]), ("store", ["--rounds", "1"])]
)
def test_benchmark_of_a_part_runs_and_writes_its_rows(tmp_path, module, options):
    file = tmp_path / "rows.json"
    command = [sys.executable, "-m", f"benchmarks.{module}", *options, "--json", str(file)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=50)
    assert json.loads(file.read_text())


def test_a_row_is_the_median_of_the_rounds_own_ratios(tmp_path):
    # The second round was twice as slow for both; a ratio of medians would not see that they are equal.
    row = at_most(1, "x", [1.0, 2.0, 3.0], [1.0, 2.0, 1.0], 1.5, "ms")
    assert (row.ratio, row.holds, row.rounds) == (1.0, True, 3)
    assert not at_most(1, "x", [2.0], [1.0], 1.5, "ms").holds
    assert at_least(3, "x", [2.0], [1.0], 1.5, "/s").holds
    assert not at_least(3, "x", [1.0], [1.0], 1.5, "/s").holds
    write_rows([row], tmp_path / "rows.json")
    (written,) = json.loads((tmp_path / "rows.json").read_text())
    assert set(written) == {"goal", "name", "ratio", "limit", "holds", "subject", "baseline", "rounds"}

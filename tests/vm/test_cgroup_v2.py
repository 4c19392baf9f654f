"""What holds on cgroup v2. All checks run inside the machine in one go; each group of them is judged here.

The machine is some twenty times slower than this host: no check inside asserts a time, and of the suites that run on
this host it repeats only what touches control groups.
"""

import re

import pytest

PYTEST = (
    "env",
    "LAMBENT_TEST_PATIENCE=10",
    ".venv/bin/python",
    "-m",
    "pytest",
    "-v",
    "--tb=short",
    "--timeout=150",
    "-p",
)
LIMITS, CONTRACT, DEATH = (
    "tests/security/sandbox/test_limits.py",
    "tests/contract/test_sandbox_driver.py",
    "tests/security/sandbox/test_launcher_death.py",
)
GROUPS, USER, WHOLE = (f"tests/vm/inside/check_{name}.py" for name in ("groups", "delegation", "whole"))
CHOSEN = [
    f"{LIMITS}::test_nothing_is_unsupported_as_root",
    f"{LIMITS}::test_more_memory_than_the_limit_ends_the_program_as_out_of_memory",
    f"{LIMITS}::test_swap_does_not_stretch_the_memory_limit",
    f"{LIMITS}::test_the_number_of_processes_is_capped",
    f"{LIMITS}::test_the_cpu_quota_follows_the_share",
    f"{LIMITS}::test_the_memory_limit_goes_up_and_down_while_a_program_runs",
    f"{CONTRACT}::test_freezing_stops_every_process_or_is_refused_as_said[bubblewrap]",
    f"{CONTRACT}::test_freezing_stops_every_process_or_is_refused_as_said[bubblewrap as a user]",
    f"{CONTRACT}::test_used_memory_shows_a_peak_that_is_over[bubblewrap]",
    f"{CONTRACT}::test_limits_change_while_a_program_runs[bubblewrap]",
    f"{CONTRACT}::test_kill_ends_every_process_of_the_tree[bubblewrap]",
    f"{CONTRACT}::test_an_id_is_taken_while_its_sandbox_lives_and_free_afterwards[bubblewrap]",
    f"{DEATH}::test_every_sandbox_dies_with_the_launcher_and_nothing_is_left[root]",
    GROUPS,
    USER,
]
LIMIT_S, WHOLE_LIMIT_S = 215, 150
pytestmark = pytest.mark.timeout(LIMIT_S + 20)


@pytest.fixture(scope="session")
def outcome(machine):
    """What pytest said inside, whole."""
    return machine.run([*PYTEST, "no:cacheprovider", *CHOSEN], limit_s=LIMIT_S).output


@pytest.fixture(scope="session")
def whole_outcome(machine):
    """What pytest said of whole servers."""
    return machine.run([*PYTEST, "no:cacheprovider", WHOLE], limit_s=WHOLE_LIMIT_S).output


@pytest.mark.parametrize(
    ("file", "count"),
    [
        pytest.param(LIMITS, 6, id="limits-of-memory-without-swap-processes-and-cpu"),
        pytest.param(CONTRACT, 6, id="freezing-usage-killing"),
        pytest.param(DEATH, 1, id="what-a-dead-launcher-left-is-swept"),
        pytest.param(GROUPS, 3, id="birth-in-the-final-group"),
        pytest.param(USER, 3, id="an-ordinary-user-with-and-without-delegation"),
    ],
)
def test_it_holds_on_cgroup_v2(outcome, file, count):
    require_passed(outcome, file, count)


def test_a_whole_server_serves_freezes_and_limits_as_root_and_as_a_user_with_a_delegated_group(whole_outcome):
    require_passed(whole_outcome, WHOLE, 2)


def require_passed(outcome, file, count):
    lines = re.findall(rf"^{re.escape(file)}::.* (PASSED|FAILED|ERROR|SKIPPED)", outcome, re.MULTILINE)
    assert lines == ["PASSED"] * count, outcome


def test_an_exit_code_of_the_machine_comes_back(machine):
    result = machine.run(["sh", "-c", "echo out; echo err >&2; exit 7"], limit_s=60)
    assert (result.code, result.output) == (7, "out\nerr\n")

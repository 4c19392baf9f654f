"""A 202 is a promise: the process dies at each of its writes in turn, and every event that was accepted ends."""

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

CHILD = Path(__file__).parent / "child.py"


def run(folder, count, fatal_write=0, effect="lost"):
    command = [sys.executable, str(CHILD), str(folder), str(count), str(fatal_write), effect]
    return subprocess.run(command, timeout=50, check=False).returncode


def facts(folder):
    found = {"accepted": Counter(), "ran": Counter(), "told": Counter()}
    for line in (folder / "facts").read_text().splitlines():
        kind, request_id = line.split()[:2]
        found[kind][request_id] += 1
    return found


@pytest.mark.parametrize("effect", ["lost", "done"])
@pytest.mark.parametrize("fatal_write", range(1, 15))
def test_an_accepted_event_ends_even_if_lambent_is_killed_at_any_write(tmp_path, fatal_write, effect):
    assert run(tmp_path, 4, fatal_write, effect) == -signal.SIGKILL
    assert run(tmp_path, 0) == 0
    found = facts(tmp_path)
    for request_id in found["accepted"]:
        tries, told = found["ran"][request_id], found["told"][request_id]
        assert (tries >= 2) if told else (tries >= 1)
        assert tries <= 2 + 1  # one more than without a crash at most: only what the crash left in hand
        assert told <= 2


def test_without_a_crash_every_event_runs_exactly_as_often_as_it_should(tmp_path):
    assert run(tmp_path, 6) == 0
    found = facts(tmp_path)
    assert sorted(found["ran"].values()) == [1, 1, 1, 2, 2, 2]
    assert list(found["told"].values()) == [1, 1, 1]
    assert set(found["ran"]) == set(found["accepted"])

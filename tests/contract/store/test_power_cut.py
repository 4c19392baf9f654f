"""D1, Q1, S1 and B1 against a power cut, on a real ext4; and the proof that this test can fail."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROUNDS = 10 if os.environ.get("LAMBENT_ROUNDS") == "full" else 2

pytestmark = [
    pytest.mark.root,
    pytest.mark.rounds,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount and shut down a file system"),
    pytest.mark.skipif(not Path("/dev/loop-control").exists(), reason="this machine has no loop devices"),
    pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="mkfs.ext4 is not installed (e2fsprogs)"),
]


def cut_power(folder, kinds, synchronous, rounds=ROUNDS):
    command = [sys.executable, HERE / "power_cut.py", folder, kinds, synchronous, str(rounds)]
    return json.loads(subprocess.check_output(command, text=True).splitlines()[-1])


def test_nothing_acknowledged_is_lost_in_a_power_cut(tmp_path):
    result = cut_power(tmp_path, "qdSb", "FULL")
    assert result["integrity"] == "integrity ok"
    assert result["kinds"] == "Sbdq"
    assert result["acknowledged"] > 1000
    assert result["lost"] == 0


def test_with_less_syncing_the_same_test_finds_the_loss(tmp_path):
    # What is lost is what came after the last checkpoint: once in a while that is nothing.
    result = cut_power(tmp_path, "qd", "NORMAL", rounds=4)
    assert result["acknowledged"] > 1000
    assert result["lost"] > 0


def test_entries_that_nobody_asked_to_sync_lose_at_most_the_last_second(tmp_path):
    result = cut_power(tmp_path, "s", "FULL", rounds=4)
    assert result["old"] > 1000
    assert result["lost"] > 0  # the youngest, of some cut: else nothing was cut
    assert result["lost_old"] == 0

"""D1, Q1, S1 and B1 against ``kill -9`` at random moments of a loaded store."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROUNDS = 1000 if os.environ.get("LAMBENT_ROUNDS") == "full" else 30
CHECK_EVERY = 10


def load_and_kill(directory, tag, lines):
    """Return what was acknowledged by a process that is killed after so many lines."""
    command = [sys.executable, HERE / "load.py", directory, tag, "qdsbS", "FULL"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        acknowledged = [child.stdout.readline() for _ in range(lines)]
        child.kill()
        acknowledged += child.stdout.readlines()
    return {line.decode().strip() for line in acknowledged if line.endswith(b"\n") and line[1:2] == b" "}


@pytest.mark.rounds
@pytest.mark.timeout(3600)
def test_nothing_acknowledged_is_lost_when_the_process_is_killed_at_any_moment(tmp_path):
    acknowledged, moments = set(), random.Random()
    for number in range(ROUNDS):
        acknowledged |= load_and_kill(tmp_path / "state", f"{number}", moments.randrange(2, 120))
        if number % CHECK_EVERY == CHECK_EVERY - 1 or number == ROUNDS - 1:
            output = subprocess.check_output([sys.executable, HERE / "present.py", tmp_path / "state"], text=True)
            found = set(output.splitlines())
            assert "integrity ok" in found
            assert acknowledged - found == set()
    assert len(acknowledged) > ROUNDS
    assert {line[0] for line in acknowledged} == set("qdsbS")

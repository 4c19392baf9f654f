"""The installed product on cgroup v2, as root and as the user to whom systemd delegated a group."""

import json
import subprocess
import sys
from pathlib import Path

from .users import group, run

# 128 MB are 128/1769 of a vCPU, in a period of 100 ms.
LIMITS = [str(128 << 20), "0", "7236 100000"]


def require_whole(seen):
    assert seen["cold"][0] == 1
    assert seen["warm"][0] == 2
    assert seen["limit"] == LIMITS
    assert seen["cpu_while_frozen_us"] == 0
    assert seen["cpu_afterwards_us"] > 0
    assert seen["thawed"][0] == 3
    assert seen["eaten"]["errorType"] == "Runtime.OutOfMemory"
    assert seen["eaten"]["errorMessage"].endswith("Runtime exited with error: signal: killed")
    assert "Max Memory Used: 128 MB" in seen["eaten_tail"]
    assert seen["after"][0] == 1
    assert seen["left"] == []


def test_a_server_of_root_serves_freezes_and_limits():
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("whole.py")], capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    require_whole(seen)
    assert seen["not_enforced"] == []


def test_a_server_of_a_user_with_a_delegated_group_serves_freezes_and_limits():
    # As `systemd-run --user --scope -p Delegate=yes lambent start` has it: a scope of the user's own manager.
    with group("user-1001.service/run-lambent.scope") as path:
        seen = run("whole.py", path)
        require_whole(seen)
        assert seen["group"].startswith(f"/{path.relative_to('/sys/fs/cgroup')}/lambent-")
        told = " ".join(seen["not_enforced"])
        assert "tmp_mib" in told
        assert not any(setting in told for setting in ("memory_mib", "cpu_share", "freeze", "processes"))

"""``lambent doctor`` looks for itself: take something away from the host, and its line flips, and no other."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

EMPTY = "mount -t tmpfs none"
HIDE = "mount --bind /dev/null"
V1 = Path("/sys/fs/cgroup/memory/cgroup.procs").exists()
# What is taken away, and the lines that say so.
CASES = {
    "bubblewrap": (f"{HIDE} $(readlink -f /usr/bin/bwrap)", {"bubblewrap", "a sandbox"}),
    "the memory controller": (f"{EMPTY} /sys/fs/cgroup/memory", {"cgroups"}),
    "all control groups": (f"{EMPTY} /sys/fs/cgroup", {"cgroups"}),
    "mkfs.ext4": (f"{HIDE} $(readlink -f $(command -v mkfs.ext4))", {"size limit of /tmp"}),
    "loop devices": (f"{HIDE} /dev/loop-control", {"size limit of /tmp"}),
    "the disk below the state": (f"{EMPTY} $STATE", {"size limit of /tmp"}),
    "descriptors": ("ulimit -Sn 512; ulimit -Hn 512", {"enough descriptors"}),
}
WITHOUT_ADMIN = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
NO_NAMESPACES = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
PROBE = """
import json, os, sys
from dataclasses import asdict
from pathlib import Path
from lambent.sandbox.probe import probe_host
print(json.dumps([asdict(each) for each in probe_host(Path(os.environ["STATE"]))]))
"""


@pytest.fixture(scope="module", autouse=True)
def only_root():
    if os.geteuid() != 0:
        pytest.skip("only root can take things away from a host")


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory):
    folder = Path("/var/tmp") / f"lambent-test-doctor-{os.getpid()}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def run(state_dir, command, before="true", **settings):
    """Run ``command`` after a shell command in mounts of its own; return its JSON by the names of findings."""
    values = {"STATE_DIR": str(state_dir), "PORT": "1", **settings}
    environ = {**os.environ, "STATE": str(state_dir), **{f"LAMBENT_{name}": text for name, text in values.items()}}
    script = ["unshare", "--mount", "sh", "-c", f'{before}; exec "$@"', "sh", *command]
    done = subprocess.run(script, env=environ, capture_output=True, text=True, check=False, timeout=50)
    assert done.stdout, done.stderr
    return {each["name"]: each for each in json.loads(done.stdout)}


@pytest.fixture(scope="module")
def probe(state_dir):
    """Return what probes the host after something was taken away from it."""
    return lambda before="true", prefix=(): run(state_dir, [*prefix, sys.executable, "-c", PROBE], before)


@pytest.fixture(scope="module")
def well(probe):
    """The names of what is well on the host as it is."""
    return {name for name, each in probe().items() if each["ok"]}


@pytest.mark.parametrize("case", CASES)
def test_what_is_taken_away_flips_its_line_and_no_other(case, probe, well):
    before, lines = CASES[case]
    if "control" in case and not V1:
        pytest.skip("on cgroup v2 this is shown in a virtual machine")
    found = probe(before)
    flipped = {name for name in well if not found[name]["ok"]}
    assert flipped == lines & well
    assert flipped, "this host is not well enough to show it"
    assert all(found[name]["detail"] and found[name]["remedy"] for name in flipped)


def test_a_permission_that_is_missing_flips_the_lines_that_need_it(probe):
    found = probe(prefix=WITHOUT_ADMIN)
    for name in ("network namespaces", "calls that mount code into running sandboxes"):
        assert not found[name]["ok"]
        assert "--security-opt" in found[name]["remedy"]
    assert found["bubblewrap"]["ok"]


def test_who_may_make_no_namespace_is_told_what_would_help(probe):
    found = probe(prefix=["unshare", "--user", "--map-root-user", "sh", "-c", NO_NAMESPACES, "sh"])
    assert not found["user namespaces"]["ok"]
    assert not found["a sandbox"]["ok"]
    assert "max_user_namespaces" in found["user namespaces"]["remedy"]


def test_the_process_driver_is_weaker_in_everything_in_words(state_dir):
    command = [sys.executable, "-m", "lambent.cli.main", "doctor", "--json"]
    found = run(state_dir, command, DRIVER="process")
    told = {name: each for name, each in found.items() if name.startswith("driver process, ")}
    assert len(told) >= 9
    assert not any(each["ok"] for each in told.values())
    assert "see its files, processes and network" in told["driver process, isolation"]["detail"]


def test_start_refuses_in_one_line_where_no_sandbox_can_be_made(state_dir):
    command = [*WITHOUT_ADMIN, sys.executable, "-m", "lambent.cli.main", "start", "--state-dir", str(state_dir)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("lambent: ")]
    assert "no sandbox can be made: calls that mount code into running sandboxes" in line

"""Every probe answers in words, and says what would help when the answer is no."""

import os
from pathlib import Path

from lambent.sandbox.probe import Probe, probe_host


def test_every_guarantee_is_probed_and_every_refusal_has_a_remedy():
    probes = probe_host(Path("/var/tmp/lambent-does-not-exist/state"))
    assert [probe.name for probe in probes] == [
        "bubblewrap",
        "user namespaces",
        "a sandbox",
        "an id for each sandbox",
        "cgroups",
        "size limit of /tmp",
        "calls that mount code into running sandboxes",
        "network namespaces",
        "functions reach the internet",
        "a system call filter",
        "enough descriptors",
    ]
    assert all(probe.detail and (probe.ok or probe.remedy) for probe in probes)


def test_a_directory_in_memory_is_no_place_for_disks():
    (disk,) = [probe for probe in probe_host(Path("/dev/shm")) if probe.name == "size limit of /tmp"]
    assert disk == Probe(
        disk.name, ok=False, detail="/dev/shm is in memory (tmpfs)", remedy="choose a directory on a disk"
    )


def test_a_probe_leaves_no_cgroup_behind():
    probe_host(Path("/"))
    mine = f"lambent-probe-{os.getpid()}"
    assert not [folder for folder, _, _ in os.walk("/sys/fs/cgroup") if mine in folder]

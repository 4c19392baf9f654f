"""What is written into which file of a control group, by version; on plain files, whose kernel is elsewhere tested."""

import pytest

from lambent.model.errors import Refused
from lambent.sandbox.controls import Controls
from lambent.sandbox.launcher.cgroups import Cgroup

MIB = 1 << 20


@pytest.fixture
def v2(tmp_path):
    for name in ("memory.max", "memory.swap.max", "pids.max", "cpu.max", "cgroup.freeze"):
        (tmp_path / name).write_text("")
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    (tmp_path / "memory.events").write_text("low 0\noom 3\noom_kill 2\noom_group_kill 0\n")
    (tmp_path / "memory.stat").write_text(f"anon {30 * MIB}\nfile {90 * MIB}\nkernel {2 * MIB}\n")
    (tmp_path / "memory.peak").write_text(str(100 * MIB))
    (tmp_path / "cgroup.procs").write_text("")
    return Cgroup(2, dict.fromkeys(("memory", "pids", "cpu", "freezer"), str(tmp_path)))


@pytest.fixture
def v1(tmp_path):
    folders = {}
    for controller in ("memory", "pids", "cpu", "freezer"):
        (tmp_path / controller).mkdir()
        (tmp_path / controller / "cgroup.procs").write_text("")
        folders[controller] = str(tmp_path / controller)
    for name in ("memory/memory.limit_in_bytes", "memory/memory.memsw.limit_in_bytes"):
        (tmp_path / name).write_text(str(64 * MIB))
    for name in ("pids/pids.max", "cpu/cpu.cfs_period_us", "cpu/cpu.cfs_quota_us", "cpu/cpu.shares"):
        (tmp_path / name).write_text("")
    (tmp_path / "freezer/freezer.state").write_text("THAWED\n")
    (tmp_path / "memory/memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    (tmp_path / "memory/memory.stat").write_text(f"cache 5\ntotal_rss {30 * MIB}\n")
    (tmp_path / "memory/memory.kmem.usage_in_bytes").write_text(str(2 * MIB))
    (tmp_path / "memory/memory.max_usage_in_bytes").write_text(str(100 * MIB))
    return Cgroup(1, folders)


def test_limits_of_v2(v2, tmp_path):
    v2.limit_memory(128)
    v2.limit_processes(1024)
    v2.limit_cpu(0.5)
    written = {name: (tmp_path / name).read_text() for name in ("memory.max", "memory.swap.max", "pids.max", "cpu.max")}
    assert written == {
        "memory.max": str(128 * MIB),
        "memory.swap.max": "0",
        "pids.max": "1024",
        "cpu.max": "50000 100000",
    }


def test_limits_of_v1(v1, tmp_path):
    v1.limit_memory(128)
    v1.limit_processes(1024)
    v1.limit_cpu(0.5)
    assert (tmp_path / "memory/memory.limit_in_bytes").read_text() == str(128 * MIB)
    assert (tmp_path / "memory/memory.memsw.limit_in_bytes").read_text() == str(128 * MIB)
    assert (tmp_path / "pids/pids.max").read_text() == "1024"
    assert (tmp_path / "cpu/cpu.cfs_quota_us").read_text() == "50000"


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        pytest.param(None, "max 100000", id="no-share-no-cap"),
        pytest.param(2.0, "200000 100000", id="more-than-one-cpu"),
        pytest.param(128 / 1769, "7236 100000", id="the-share-of-128-MB"),
        pytest.param(0.001, "1000 100000", id="never-below-the-kernels-least-quota"),
    ],
)
def test_cpu_share_becomes_a_quota(v2, tmp_path, share, expected):
    v2.limit_cpu(share)
    assert (tmp_path / "cpu.max").read_text() == expected


def test_weight_is_that_of_either_version(v1, v2, tmp_path):
    (tmp_path / "cpu.weight").write_text("")
    v2.weigh_cpu(10)
    v1.weigh_cpu(10)
    assert (tmp_path / "cpu.weight").read_text() == "10"
    assert (tmp_path / "cpu/cpu.shares").read_text() == "102"


def test_out_of_memory_kills_and_used_memory_are_read_the_same_in_both_versions(tmp_path, request):
    for version in ("v1", "v2"):
        cgroup = request.getfixturevalue(version)
        assert cgroup.out_of_memory_kills() == 2
        assert cgroup.peak_memory_bytes() == 32 * MIB


def test_a_peak_never_falls(v2, tmp_path):
    assert v2.peak_memory_bytes() == 32 * MIB
    (tmp_path / "memory.stat").write_text(f"anon {MIB}\nkernel 0\n")
    assert v2.peak_memory_bytes() == 32 * MIB


@pytest.mark.parametrize(
    ("version", "file", "orders"),
    [("v1", "freezer/freezer.state", ["FROZEN", "THAWED"]), ("v2", "cgroup.freeze", ["1", "0"])],
)
def test_who_holds_the_controls_freezes_thaws_and_sees_what_is_held(version, file, orders, tmp_path, request):
    group, seen = request.getfixturevalue(version), []
    controls = Controls(group.open_controls())
    for order in (controls.freeze, controls.thaw):
        (tmp_path / file).write_text("")
        order()
        seen.append((tmp_path / file).read_bytes().rstrip(b"\0").lstrip(b"\0").decode())
    assert seen == orders
    assert controls.held_memory_bytes() == 32 * MIB
    controls.close()
    with pytest.raises(Refused):
        controls.freeze()
    assert controls.held_memory_bytes() is None


@pytest.mark.parametrize(
    ("version", "file", "order"), [("v1", "freezer/freezer.state", "THAWED"), ("v2", "cgroup.freeze", "0")]
)
def test_what_is_killed_is_thawed_whoever_froze_it(version, file, order, tmp_path, request):
    group = request.getfixturevalue(version)
    (tmp_path / file).write_text("")
    group.let_die()
    assert (tmp_path / file).read_text() == order


def test_without_a_cgroup_freezing_is_refused_and_thawing_does_nothing():
    controls = Controls({})
    controls.thaw()
    assert controls.held_memory_bytes() is None
    with pytest.raises(Refused):
        controls.freeze()


def test_without_a_controller_its_limit_is_left_alone(tmp_path):
    nothing = Cgroup(1, {})
    nothing.limit_memory(128)
    nothing.limit_processes(10)
    nothing.limit_cpu(1.0)
    assert nothing.out_of_memory_kills() == 0
    assert nothing.peak_memory_bytes() is None
    assert not list(tmp_path.iterdir())

"""Which group of cgroup v2 is taken, on plain files; the kernel's part is proven in the virtual machine."""

import errno
import os
import subprocess

import pytest

from lambent.sandbox.launcher import delegation


@pytest.fixture
def group(tmp_path):
    folder = tmp_path / "lambent.scope"
    folder.mkdir()
    for name in ("cgroup.procs", "cgroup.subtree_control"):
        (folder / name).write_text("")
    (folder / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    return folder


def place(folder, top, *, rootless=True):
    return delegation.find_place(str(top), str(folder), rootless=rootless, family=os.getpid())


def test_the_users_own_group_that_holds_only_us_is_taken(group, tmp_path):
    (group / "cgroup.procs").write_text(f"{os.getpid()}\n")
    assert place(group, tmp_path) == (str(group), "")


def test_a_child_is_one_of_us(group, tmp_path):
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as child:
        (group / "cgroup.procs").write_text(f"{os.getpid()}\n{child.pid}\n")
        assert place(group, tmp_path) == (str(group), "")


def test_a_group_in_which_others_live_is_left_alone(group, tmp_path):
    (group / "cgroup.procs").write_text(f"{os.getpid()}\n{os.getppid()}\n")
    found, reason = place(group, tmp_path)
    assert found == ""
    assert "not delegated" in reason


def test_a_group_that_is_not_a_control_group_of_ours_is_left_alone(tmp_path):
    assert place(tmp_path / "nowhere", tmp_path)[0] == ""


def test_from_the_leaf_of_a_predecessor_the_group_above_is_taken(group, tmp_path):
    (group / delegation.LEAF).mkdir()
    assert place(group / delegation.LEAF, tmp_path) == (str(group), "")


def test_root_without_delegation_takes_the_topmost_group(group, tmp_path):
    assert place(group, tmp_path, rootless=False) == (str(tmp_path), "")


def test_what_is_marked_as_delegated_is_taken_whoever_lives_in_it(group, tmp_path, monkeypatch):
    (group / "cgroup.procs").write_text(f"{os.getppid()}\n")
    monkeypatch.setattr(os, "getxattr", lambda path, name: b"1" if name == "user.delegate" else b"")
    for rootless in (True, False):
        assert place(group, tmp_path, rootless=rootless) == (str(group), "")


def test_controllers_that_were_not_handed_down_are_told(group):
    assert delegation.enable(str(group)) == (frozenset({"cpu", "memory", "pids"}), "")
    (group / "cgroup.controllers").write_text("memory pids\n")
    controllers, reason = delegation.enable(str(group))
    assert controllers == {"memory", "pids"}
    assert reason.endswith("is not given the controllers cpu")


def test_processes_in_the_way_are_moved_until_the_kernel_is_content(group, monkeypatch):
    refusals, written = [OSError(errno.EBUSY, "busy")] * 2, []

    def write_file(path, text):
        if path.endswith("subtree_control") and refusals:
            raise refusals.pop()
        written.append((os.path.relpath(path, group), text))

    monkeypatch.setattr(delegation, "write_file", write_file)
    (group / "cgroup.procs").write_text("7\n8\n")
    delegation.enable(str(group))
    moves = [(f"{delegation.LEAF}/cgroup.procs", pid) for pid in ("7", "8")]
    controls = [("cgroup.subtree_control", f"+{name}") for name in delegation.CONTROLLERS]
    assert written == [*moves, *moves, *controls]

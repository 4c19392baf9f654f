"""``lambent setup`` on a scratch root: what it writes, again, and away again."""

import json
import os
import shutil
import subprocess

import pytest
from click.testing import CliRunner

from lambent.cli.main import main
from lambent.cli.setup_files import DROPPED_CAPABILITIES, system_unit, user_unit
from lambent.sandbox.supervisor import PROFILE

PASSWD = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nbob:x:1001:1001::/home/bob:/bin/sh\n"


@pytest.fixture
def host(tmp_path):
    """A host's root directory with two users, one of whom has ranges of ids."""
    files = {
        "etc/passwd": PASSWD,
        "etc/group": "root:x:0:\n",
        "etc/shadow": "root:*:1::::::\n",
        "etc/login.defs": "",
        "etc/subuid": "ann:100000:65536\n",
        "etc/subgid": "ann:100000:65536",
        "etc/apparmor.d/abi/4.0": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def setup(host, *arguments, code=0):
    done = CliRunner().invoke(main, ["setup", "--root", str(host), *arguments])
    assert done.exit_code == code, done.output
    return done.output


def contents(host):
    ignored = ("etc/passwd-", "etc/group-", "etc/shadow-", "etc/subuid-", "etc/subgid-", "etc/gshadow")
    paths = [path for path in host.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(host)): path.read_text()
        for path in paths
        if str(path)[len(str(host)) + 1 :] not in ignored
    }


def without_user(host):
    """Leave the system user to the test as root: useradd is root's."""
    (host / "etc/passwd").write_text(PASSWD + "lambent:x:997:997::/:/usr/sbin/nologin\n")
    return host


def test_a_dry_run_prints_exactly_what_a_run_then_writes(host):
    before = contents(without_user(host))
    said = setup(host, "--dry-run", "--user", "bob")
    assert contents(host) == before
    setup(host, "--user", "bob")
    for name, text in contents(host).items():
        if text != before.get(name) and name != "etc/lambent/setup.json":
            assert str(host / name) in said
            added = text.removeprefix(before.get(name, "")).strip("\n")
            assert all(f"    {line}" in said for line in added.splitlines()), name
    assert said.count("write ") == 4


def test_a_second_run_changes_nothing(host):
    setup(without_user(host), "--user", "bob")
    before = contents(host)
    assert "nothing to do" in setup(host, "--user", "bob")
    assert setup(host, "--dry-run", "--user", "bob").strip() == "nothing to do: everything is in place"
    assert contents(host) == before


def test_undo_leaves_the_host_as_it_was(host):
    before = contents(without_user(host))
    setup(host, "--user", "bob")
    assert contents(host) != before
    setup(host, "--undo")
    after = contents(host)
    assert after.pop("etc/subgid").split() == before.pop("etc/subgid").split()  # its last line got its end
    assert after == before


def test_undo_takes_nothing_that_somebody_made_his_own(host):
    setup(without_user(host))
    unit = host / "etc/systemd/system/lambent.service"
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    setup(host, "--undo")
    assert unit.read_text() == "[Service]\nExecStart=/bin/true\n"


def test_a_file_of_somebody_else_is_never_overwritten(host):
    unit = without_user(host) / "etc/systemd/system/lambent.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("theirs")
    assert "is there and not ours" in setup(host, code=1)
    assert unit.read_text() == "theirs"


def test_ranges_of_ids_overlap_with_nobodys(host):
    (without_user(host) / "etc/subuid").write_text("ann:100000:65536\ncat:700000:65536\n")
    setup(host, "--user", "bob", "--user", "ann")
    assert (host / "etc/subuid").read_text().splitlines() == [
        "ann:100000:65536",
        "cat:700000:65536",
        "bob:765536:65536",
    ]
    assert (host / "etc/subgid").read_text().splitlines() == ["ann:100000:65536", "bob:524288:65536"]
    assert json.loads((host / "etc/lambent/setup.json").read_text())["etc/subuid"] == ["bob:765536:65536"]


def test_an_unknown_user_is_refused_before_anything_is_written(host):
    before = contents(without_user(host))
    assert "there is no user nobody-here" in setup(host, "--user", "nobody-here", code=1)
    assert contents(host) == before


def test_a_host_whose_apparmor_has_no_word_for_user_namespaces_gets_no_profile(host):
    (without_user(host) / "etc/apparmor.d/abi/4.0").unlink()
    setup(host)
    assert not (host / "etc/apparmor.d" / PROFILE).exists()


@pytest.mark.root
def test_the_servers_user_is_made_and_taken_away_again(host):
    if os.geteuid() != 0:
        pytest.skip("useradd is root's")
    setup(host)
    assert "lambent:" in (host / "etc/passwd").read_text()
    assert "nothing to do" in setup(host)
    setup(host, "--undo")
    assert "lambent:" not in (host / "etc/passwd").read_text()


@pytest.mark.parametrize("kind", ["system", "user"])
def test_systemd_finds_nothing_wrong_with_a_unit(kind, tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("this host has no systemd-analyze")
    unit = tmp_path / "lambent.service"
    unit.write_text({"system": system_unit, "user": user_unit}[kind]("/bin/true"))
    command = ["systemd-analyze", f"--{kind}", "verify", "--man=no", str(unit)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_unit_takes_no_capability_that_the_launcher_uses():
    used = {"SYS_ADMIN", "SETUID", "SETGID", "CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_ADMIN", "SYS_RESOURCE"}
    assert len(DROPPED_CAPABILITIES) > 15
    assert not {f"CAP_{name}" for name in used} & set(DROPPED_CAPABILITIES)


def test_an_ordinary_user_gets_his_unit_and_is_told_what_needs_root(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 65_534)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LAMBENT_STATE_DIR", str(tmp_path))
    done = CliRunner().invoke(main, ["setup"])
    assert done.exit_code == 1
    assert "the rest needs root" in done.output
    assert "sudo " in done.output
    assert (tmp_path / ".config/systemd/user/lambent.service").read_text().count("Delegate=yes") == 1

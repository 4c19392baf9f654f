"""Which bubblewrap is taken, and what is said where none will do."""

import pytest

from lambent.cli.client import CommandFailed
from lambent.cli.server_commands import require_driver
from lambent.config import Settings
from lambent.sandbox import probe
from lambent.sandbox.launcher import bwrap
from lambent.sandbox.launcher.bwrap import NoBubblewrap, find_bubblewrap


@pytest.fixture
def install(tmp_path):
    """Return a function that makes a bubblewrap of a version and returns its path."""

    def install(name, words):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n[ $1 = --version ] && echo '{words}'\n")
        path.chmod(0o755)
        return str(path)

    return install


@pytest.fixture
def use(monkeypatch):
    """Return a function that makes these paths the places where bubblewrap is looked for."""

    def use(*places):
        monkeypatch.setattr(probe, "find_bubblewrap", lambda: find_bubblewrap(places))

    return use


@pytest.mark.parametrize("words", ["bubblewrap 0.8.0", "bubblewrap 0.11.0", "bubblewrap 1.0"])
def test_one_that_is_new_enough_is_taken(install, words):
    path = install("bwrap", words)
    assert find_bubblewrap([path]) == (path, words)


def test_an_old_one_is_passed_over_for_a_new_one(install):
    old, new = install("old", "bubblewrap 0.6.1"), install("new", "bubblewrap 0.9.0")
    assert find_bubblewrap([old, new]) == (new, "bubblewrap 0.9.0")


def test_an_old_one_alone_is_named_with_its_version(install):
    path = install("bwrap", "bubblewrap 0.6.1")
    with pytest.raises(NoBubblewrap, match=rf"^bubblewrap 0\.6\.1 \({path}\) is too old$"):
        find_bubblewrap([path])


def test_one_that_does_not_run_is_none(tmp_path, install):
    path = install("bwrap", "no version")
    with pytest.raises(NoBubblewrap, match="no version"):
        find_bubblewrap([path, str(tmp_path / "absent")])
    with pytest.raises(NoBubblewrap, match="bubblewrap is not installed"):
        find_bubblewrap([str(tmp_path / "absent")])


def test_doctor_and_start_refuse_an_old_one_with_the_remedy(install, use):
    use(install("bwrap", "bubblewrap 0.6.1"))
    found = {each.name: each for each in (probe.probe_bubblewrap(), probe._probe_sandbox())}
    assert [(each.ok, each.remedy) for each in found.values()] == [(False, bwrap.REMEDY)] * 2
    with pytest.raises(
        CommandFailed, match=r"no sandbox can be made: bubblewrap: bubblewrap 0\.6\.1 .* is too old; .*0\.8 or newer"
    ):
        require_driver(Settings(driver="bubblewrap"))
    require_driver(Settings(driver="process"))


def test_a_host_with_one_that_is_new_enough_has_what_start_wants_of_it(install, use):
    use(install("bwrap", "bubblewrap 0.8.0"))
    assert probe.probe_bubblewrap().ok
    assert "bubblewrap" not in [each.name for each in probe.probe_required()]

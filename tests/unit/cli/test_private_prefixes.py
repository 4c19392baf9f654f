"""Which directories the server's own user cannot reach, and what is done about them."""

import tempfile
from pathlib import Path

import pytest

from lambent.cli.client import CommandFailed
from lambent.cli.private_prefixes import find_private


@pytest.fixture
def home():
    """A directory that everybody reaches, which pytest's own are not."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="lambent-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_what_everybody_reaches_needs_nothing(home):
    (home / "open").mkdir(mode=0o755)
    assert find_private([home / "open"], []) == []


def test_the_outermost_closed_directory_is_covered(home):
    place = home / "closed" / "between" / "venv"
    place.mkdir(parents=True)
    (home / "closed").chmod(0o700)
    (home / "closed" / "between").chmod(0o700)
    (shown,) = find_private([place], [])
    assert (shown.path, shown.cover, shown.is_writable) == (place, home / "closed", False)


def test_one_inside_another_is_shown_with_it_unless_it_is_written(home):
    place = home / "closed" / "venv"
    (place / "lib").mkdir(parents=True)
    (place / "state").mkdir()
    (home / "closed").chmod(0o700)
    found = find_private([place / "lib", place], [place / "state"])
    assert [(each.path, each.is_writable) for each in found] == [(place, False), (place / "state", True)]


def test_a_directory_closed_itself_is_refused_with_the_remedy(home):
    place = home / "closed"
    place.mkdir(mode=0o700)
    (place / "venv").mkdir(mode=0o700)
    with pytest.raises(CommandFailed, match=f"chmod -R go.rX {place / 'venv'}"):
        find_private([place / "venv"], [])


def test_a_link_is_followed_and_kept(home):
    place = home / "closed"
    (place / "real").mkdir(parents=True)
    (place / "link").symlink_to("real")
    place.chmod(0o700)
    assert [each.path for each in find_private([place / "link"], [])] == [place / "link", place / "real"]

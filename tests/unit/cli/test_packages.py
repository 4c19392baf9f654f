"""From a directory to a ZIP: what is taken, what is not, and that equal files make equal packages."""

import io
import os
import zipfile

import pytest

from lambent.cli.client import CommandFailed
from lambent.cli.packages import read_function_file, zip_trees


def write(path, text="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def names(package):
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        return {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}


def test_caches_and_the_settings_file_stay_out_of_the_package(tmp_path):
    for name in ("app.py", "pkg/mod.py", "lambent.toml", "__pycache__/app.pyc", ".git/config", "pkg/__pycache__/m.pyc"):
        write(tmp_path / name)
    assert set(names(zip_trees([tmp_path]))) == {"app.py", "pkg/mod.py"}


def test_every_file_is_readable_for_all_and_programs_stay_executable(tmp_path):
    write(tmp_path / "app.py").chmod(0o600)
    write(tmp_path / "bootstrap").chmod(0o700)
    assert names(zip_trees([tmp_path])) == {"app.py": 0o100644, "bootstrap": 0o100755}


def test_equal_files_make_equal_packages_whatever_their_times(tmp_path):
    file = write(tmp_path / "app.py")
    first = zip_trees([tmp_path])
    os.utime(file, (1, 1))
    assert zip_trees([tmp_path]) == first


def test_a_later_tree_wins_over_an_earlier_one(tmp_path):
    write(tmp_path / "packages/app.py", "library")
    write(tmp_path / "own/app.py", "own")
    with zipfile.ZipFile(io.BytesIO(zip_trees([tmp_path / "packages", tmp_path / "own"]))) as archive:
        assert archive.read("app.py") == b"own"


def test_an_empty_directory_is_refused_in_words(tmp_path):
    with pytest.raises(CommandFailed, match="holds no files"):
        zip_trees([tmp_path])


def test_flags_win_over_the_file_and_the_directory_names_the_function(tmp_path):
    write(tmp_path / "lambent.toml", '[function]\nruntime = "python3.13"\nhandler = "app.handler"\nmemory_mib = 256\n')
    function = read_function_file(tmp_path, {"memory_mib": 512, "timeout_s": None, "environment": {}})
    assert (function.name, function.memory_mib) == (tmp_path.name, 512)
    assert function.members()["MemorySize"] == 512
    assert "Timeout" not in function.members()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param('[function]\nruntime = "python3.13"\n', "names no handler", id="handler-missing"),
        pytest.param('[function]\nruntme = "python3.13"\n', "unknown settings", id="a-misspelt-setting"),
        pytest.param("[function\n", "lambent.toml", id="not-toml"),
        pytest.param("function = 3\n", "must be a table", id="not-a-table"),
        pytest.param('[function]\nruntime = "a"\nhandler = 3\n', "lambent.toml: .*handler", id="a-wrong-type"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name(tmp_path, text, words):
    write(tmp_path / "lambent.toml", text)
    with pytest.raises(CommandFailed, match=words):
        read_function_file(tmp_path, {})


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "lambent.toml").write_bytes(b"\xff")
    with pytest.raises(CommandFailed, match=r"lambent\.toml"):
        read_function_file(tmp_path, {})

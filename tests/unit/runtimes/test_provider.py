"""What the provider says when a runtime cannot be had, and that it leaves nothing half done."""

import asyncio
import fcntl
import os
import platform
import stat
import threading

import pytest

from lambent.runtimes.catalogue import RuntimeCatalogue
from lambent.runtimes.commands import CommandFailed, Stop, run_command
from lambent.runtimes.interpreters import InterpreterSearch
from lambent.runtimes.provider import RuntimeProvider, RuntimeUnavailable
from lambent.runtimes.trees import ensure_tree, name_tree, sweep

pytestmark = pytest.mark.anyio
NATIVE, FOREIGN = ("x86_64", "arm64") if platform.machine() == "x86_64" else ("arm64", "x86_64")


@pytest.fixture
def provider(tmp_path):
    return RuntimeProvider(
        RuntimeCatalogue.load(), runtime_root=tmp_path / "runtimes", interpreter_root=tmp_path / "interpreters",
        cache_dir=tmp_path / "cache", configured={},
        host_environ={"PATH": "/nonexistent", "HOME": str(tmp_path), "PIP_NO_INDEX": "1"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("identifier", "architecture", "words"),
    [
        ("python3.13", FOREIGN, f"the function is for {FOREIGN} and this host is {platform.machine()}"),
        ("java21", NATIVE, "provided.al2023"),
        ("ruby3.4", NATIVE, "no client"),
        ("unheard-of", NATIVE, "nothing is known of it"),
        ("python3.15", NATIVE, "there is no Python 3.15 on it, and none could be fetched (uv is not installed)"),
        ("nodejs26.x", NATIVE, 'interpreters."nodejs26" = "/path"'),
    ],
)
async def test_what_cannot_be_had_is_refused_with_reason_and_remedy(
    identifier, architecture, words, provider, tmp_path
):
    with pytest.raises(RuntimeUnavailable) as caught:
        await provider.prepare(identifier, architecture)
    assert words in str(caught.value)
    assert (caught.value.reason, caught.value.remedy) != ("", "")
    assert [path.name for root in ("runtimes", "interpreters") for path in (tmp_path / root).glob("[!.]*")] == []


@pytest.mark.parametrize("identifier", ["provided.al2023", "provided.al2"])
async def test_custom_runtimes_need_nothing(identifier, provider):
    prepared = await provider.prepare(identifier, NATIVE)
    assert (prepared.argv, prepared.runtime_tree, prepared.python) == ((), None, None)
    assert prepared.bootstrap_candidates == ("/var/task/bootstrap", "/opt/bootstrap")
    assert prepared.version_arn("eu-west-1") == RuntimeCatalogue.load().version_arn(identifier, "eu-west-1")


async def test_cancelling_ends_the_command_that_was_started(provider, tmp_path, monkeypatch):
    started = threading.Event()
    ended = []

    def run_slowly(runtime, stop):
        started.set()
        try:
            run_command(["/bin/sleep", "30"], {}, cwd=tmp_path, limit_s=30, stop=stop)
        except CommandFailed as error:
            ended.append(str(error))
            raise

    monkeypatch.setattr(provider, "_prepare", run_slowly)
    task = asyncio.ensure_future(provider.prepare("python3.13", NATIVE))
    assert await asyncio.to_thread(started.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ["was stopped" in each for each in ended] == [True]


def test_a_command_that_takes_too_long_is_killed_with_its_children(tmp_path):
    with pytest.raises(CommandFailed, match="took more than 0 s"):
        run_command(["/bin/sh", "-c", "sleep 30 & sleep 30"], {}, cwd=tmp_path, limit_s=0.2, stop=Stop())


def test_a_command_that_fails_tells_what_it_said(tmp_path):
    with pytest.raises(CommandFailed, match="sh ended with 3: one / two"):
        run_command(["/bin/sh", "-c", "echo one >&2; echo two >&2; exit 3"], {}, cwd=tmp_path, limit_s=5, stop=Stop())
    with pytest.raises(CommandFailed, match="absent: No such file"):
        run_command(["/absent"], {}, cwd=tmp_path, limit_s=5, stop=Stop())


def test_a_configured_interpreter_is_taken_first_and_a_wrong_one_passed_over(tmp_path):
    shown = '{"version": "3.13.9", "executable": "/x", "prefix": "/y", "machine": "m", "is_usual": true}'
    for name, text in {"good": shown, "other": shown.replace("3.13.9", "3.1.3")}.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho '{text}'\n")
        program.chmod(0o755)
    search = InterpreterSearch({"python3.13": tmp_path / "good"}, {})
    assert search.find("python3.13", Stop()).version == "3.13.9"
    assert InterpreterSearch({"python3.1": tmp_path / "good"}, {}).find("python3.1", Stop()) is None


def test_a_tree_appears_whole_or_not_at_all(tmp_path):
    name = name_tree("thing", "a", b"b")

    def fail(tree):
        (tree / "part").write_text("x")
        raise CommandFailed("half way")

    with pytest.raises(CommandFailed):
        ensure_tree(tmp_path, name, fail)
    assert list(tmp_path.glob(".*.tmp*")) == [] == list(tmp_path.glob("thing*"))

    def fill(tree):
        (tree / "program").write_text("x")
        (tree / "program").chmod(0o700)
        (tree / "text").write_text("x")
        (tree / "text").chmod(0o666)

    tree = ensure_tree(tmp_path, name, fill)
    modes = [stat.S_IMODE(os.stat(tree / each).st_mode) for each in ("", "program", "text")]
    assert modes == [0o755, 0o755, 0o644]
    assert ensure_tree(tmp_path, name, fail) == tree


def test_what_an_installer_left_is_swept_and_a_tree_under_construction_stays(tmp_path):
    for name in (".a-1.tmpx", ".b-2.tmpy"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part").write_text("x")
    (tmp_path / "a-1").mkdir()
    with (tmp_path / ".b-2.lock").open("w") as builder:
        fcntl.flock(builder, fcntl.LOCK_EX)
        sweep(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [".b-2.tmpy", "a-1"]
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["a-1"]
    sweep(tmp_path / "absent")


async def test_a_library_that_node_lacks_is_named_with_its_package(provider, monkeypatch):
    def fail(major, found, stop):
        raise CommandFailed("node ended with 127: error while loading shared libraries: libatomic.so.1")

    monkeypatch.setattr(provider._node, "build_interpreter", fail)
    with pytest.raises(RuntimeUnavailable, match=r"libatomic\.so\.1 is in the package libatomic1"):
        await provider.prepare("nodejs26.x", NATIVE)


def test_names_of_trees_differ_with_every_input():
    names = {name_tree("x", *inputs) for inputs in (("a", "b"), ("ab",), ("a", "b", ""), ("b", "a"))}
    assert len(names) == 4

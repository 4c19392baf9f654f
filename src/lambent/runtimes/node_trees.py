"""/var/lang and /var/runtime for Node.js. Blocking; runs in a thread."""

import json
import platform
import shutil
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final

from lambent.model.ids import TreeName
from lambent.runtimes.commands import CommandFailed, Progress, Stop
from lambent.runtimes.installers import Installers
from lambent.runtimes.interpreters import Interpreter
from lambent.runtimes.node_wheels import NodeWheels, check_node
from lambent.runtimes.trees import copy_files, ensure_tree, name_tree

_LAYOUT: Final = "1"
# Developer guide, "Runtime-included SDK versions": Node.js 16 has version 2 of the SDK. Version 3 supports a Node.js
# for about eight months after its end: 18 keeps the last one that took it.
_SDK_LOCKS: Final = {"16": "sdk-16.json", "18": "sdk-18.json"}
# Recorded from AWS, January 2026: Node.js 16 is pointed to more certificate authorities, those of RDS among them.
BRINGS_AUTHORITIES: Final = ("16",)
_MACHINES: Final = {"x86_64": "x64", "aarch64": "arm64"}


class NodeTrees:
    """Builds the trees of Node.js: interpreters beneath one root, what is at /var/runtime beneath another."""

    def __init__(
        self, *, interpreter_root: Path, runtime_root: Path, installers: Installers, progress: Progress
    ) -> None:
        self._interpreter_root = interpreter_root
        self._runtime_root = runtime_root
        self._installers = installers
        self._progress = progress
        self._wheels = NodeWheels(interpreter_root, installers, progress)

    def build_interpreter(self, major: str, found: Interpreter | None, stop: Stop) -> TreeName:
        """Return the tree for /var/lang with ``bin/node``: the host's, or else a pinned one. Raises CommandFailed."""
        if found is None:
            return self._fetch(major, stop)
        if found.prefix.parent == self._interpreter_root:
            return TreeName(found.prefix.name)  # built before, by whoever could read the original
        status = found.executable.stat()
        name = name_tree(f"nodejs{major}", _LAYOUT, str(found.executable), f"{status.st_size} {status.st_mtime_ns}")

        def fill(tree: Path) -> None:
            (tree / "lib").mkdir()
            (tree / "bin").mkdir()
            if found.is_of_the_system:
                (tree / "bin" / "node").symlink_to(found.executable)
            else:
                copy_files([(found.executable, tree / "bin" / "node")])
            check_node(tree, major, stop)

        ensure_tree(self._interpreter_root, name, fill)
        return name

    def build_runtime(self, major: str, stop: Stop) -> TreeName:
        """Return the tree for /var/runtime: our runtime client and AWS's SDK. Raises CommandFailed."""
        package = files("lambent.runtimes")
        start = package.joinpath("start.sh").read_text()
        client = package.joinpath("node", "client")
        sources = sorted((each for each in client.iterdir() if each.is_file()), key=lambda each: each.name)
        lock_text = package.joinpath("node", _SDK_LOCKS.get(major, "sdk.json")).read_text()
        authorities = files("botocore").joinpath("cacert.pem").read_text() if major in BRINGS_AUTHORITIES else ""
        inputs = [part for each in sources for part in (each.name, each.read_text())]
        inputs += [authorities] if authorities else []
        name = name_tree("runtime-nodejs", _LAYOUT, start, lock_text, *inputs)

        def fill(tree: Path) -> None:
            npm = self._wheels.find_npm(stop)
            self._progress(f"nodejs{major}: installing the AWS SDK")
            lock = json.loads(lock_text)
            manifest = {"dependencies": lock["packages"][""]["dependencies"]}
            self._installers.install_node(npm, manifest, lock, tree, stop)
            (tree / "bootstrap").write_text(start)
            (tree / "bootstrap").chmod(0o755)
            if authorities:
                (tree / "ca-cert.pem").write_text(authorities)
            for each in sources:
                with as_file(each) as path:
                    copy_files([(path, tree / each.name)])

        ensure_tree(self._runtime_root, name, fill)
        return name

    def _fetch(self, major: str, stop: Stop) -> TreeName:
        """Return an interpreter that the host does not have: from Python's index, or else from npm's."""
        if not self._wheels.offers(major):
            return self._install_from_npm(major, stop)
        try:
            return self._wheels.ensure(major, stop)
        except CommandFailed as error:
            if stop.is_asked:
                raise
            try:
                return self._install_from_npm(major, stop)
            except CommandFailed as other:
                raise CommandFailed(f"{error}; {other}") from other

    def _install_from_npm(self, major: str, stop: Stop) -> TreeName:
        pins: dict[str, Any] = json.loads(files("lambent.runtimes").joinpath("node", "interpreters.json").read_text())
        pin = pins[major].get(_MACHINES.get(platform.machine(), ""))
        if pin is None:
            raise CommandFailed(f"npm has no Node.js {major} for {platform.machine()}")
        package, version = pin["package"], pin["version"]
        name = name_tree(f"nodejs{major}", _LAYOUT, json.dumps(pin))
        manifest = {"dependencies": {package: version}}
        lock = {
            "name": "node", "lockfileVersion": 3, "requires": True,
            "packages": {
                "": {"dependencies": {package: version}},
                f"node_modules/{package}": {"version": version, "integrity": pin["integrity"]},
            },
        }  # fmt: skip

        def fill(tree: Path) -> None:
            npm = self._wheels.find_npm(stop)
            self._progress(f"nodejs{major}: fetching Node.js {version} (50 MB, once)")
            self._installers.install_node(npm, manifest, lock, tree, stop)
            (tree / "bin").mkdir()
            (tree / "lib").mkdir()
            (tree / "node_modules" / package / "bin" / "node").rename(tree / "bin" / "node")
            shutil.rmtree(tree / "node_modules")
            check_node(tree, major, stop)

        ensure_tree(self._interpreter_root, name, fill)
        return name

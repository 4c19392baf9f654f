"""Makes a runtime ready to start: its interpreter and its /var/runtime as read-only trees, and how to start it."""

import asyncio
import contextlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from lambent.model.errors import HostError
from lambent.model.ids import TreeName
from lambent.model.interpreters import PythonTarget
from lambent.runtimes.catalogue import Family, Runtime, RuntimeCatalogue
from lambent.runtimes.commands import CommandFailed, Progress, Stop
from lambent.runtimes.installers import Installers
from lambent.runtimes.interpreters import Interpreter, InterpreterSearch
from lambent.runtimes.node_trees import BRINGS_AUTHORITIES, NodeTrees
from lambent.runtimes.python_trees import build_python_interpreter, build_python_runtime
from lambent.runtimes.trees import sweep

_MACHINES: Final = {"x86_64": "x86_64", "arm64": "aarch64"}
_T = TypeVar("_T")


class RuntimeUnavailable(HostError):
    """A runtime cannot run on this host; says why, and what would help."""

    def __init__(self, identifier: str, reason: str, remedy: str) -> None:
        super().__init__(f"The runtime {identifier} is not available on this host: {reason}. {remedy}.")
        self.identifier, self.reason, self.remedy = identifier, reason, remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRuntime:
    """A runtime that can be started in a sandbox."""

    identifier: str
    argv: tuple[str, ...]  # paths inside; empty when the function brings its program, see bootstrap_candidates
    runtime_tree: TreeName | None = None  # at /var/runtime
    interpreter_tree: TreeName | None = None  # at /var/lang
    environ: tuple[tuple[str, str], ...] = ()  # what AWS sets for this runtime alone; the function's own values win
    version: str  # "python:3.12.v1", as INIT_START prints it
    runtime: Runtime
    python: PythonTarget | None = None  # compiles the function's code; None for other languages
    bootstrap_candidates: tuple[str, ...] = ()

    def version_arn(self, region: str) -> str:
        """Return the ARN of this runtime version in ``region``."""
        return self.runtime.version_arn(region)


class RuntimeProvider:
    """Builds trees beneath the launcher's runtime and interpreter roots, each once; several processes may share them.

    ``configured`` names interpreters by host path (executable or prefix): ``python3.12``, ``nodejs22``.
    ``host_environ`` is the server's process environment: where to look for programs, mirrors, certificates.
    """

    def __init__(
        self,
        catalogue: RuntimeCatalogue,
        *,
        runtime_root: Path,
        interpreter_root: Path,
        cache_dir: Path,
        configured: Mapping[str, Path],
        host_environ: Mapping[str, str],
        progress: Progress = lambda text: None,
    ) -> None:
        self._catalogue = catalogue
        self._runtime_root = runtime_root
        self._interpreter_root = interpreter_root
        self._search = InterpreterSearch(configured, host_environ)
        self._installers = Installers(cache_dir, host_environ, self._search)
        self._node = NodeTrees(
            interpreter_root=interpreter_root,
            runtime_root=runtime_root,
            installers=self._installers,
            progress=progress,
        )
        self._progress = progress
        self._prepared: dict[str, PreparedRuntime] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def prepare(self, identifier: str, architecture: str = "x86_64") -> PreparedRuntime:
        """Return the runtime, built or installed if need be. Concurrent callers share the work.

        Raises RuntimeUnavailable; the next call tries again. Cancelling ends what was started for it.
        """
        runtime = self._catalogue.find(identifier)
        if runtime is None:
            raise RuntimeUnavailable(identifier, "nothing is known of it", "Choose another runtime")
        if _MACHINES.get(architecture) != platform.machine():
            raise RuntimeUnavailable(
                identifier,
                f"the function is for {architecture} and this host is {platform.machine()}",
                "Set Architectures to that of the host",
            )
        async with self._locks.setdefault(identifier, asyncio.Lock()):
            if identifier not in self._prepared:
                self._prepared[identifier] = await _run_in_thread(lambda stop: self._prepare(runtime, stop))
            return self._prepared[identifier]

    async def find_interpreters(self) -> Sequence[Interpreter]:
        """Return which interpreters of the catalogue this host has, without installing one. Runs each of them once."""
        names = {
            _interpreter_name(runtime)
            for runtime in map(self._catalogue.find, self._catalogue.identifiers)
            if runtime is not None and runtime.family in (Family.PYTHON, Family.NODEJS)
        }

        def search(stop: Stop) -> list[Interpreter]:
            found = [self._search.find(name, stop) for name in sorted(names)]
            return [interpreter for interpreter in found if interpreter is not None]

        return await _run_in_thread(search)

    def adopt_interpreter(self, name: str) -> Path:
        """Copy the interpreter ``name`` beneath the interpreter root and return the copy's path. Blocking.

        For whoever may read an interpreter on behalf of a server that may not. RuntimeUnavailable if there is none.
        """
        stop = Stop()
        found = self._search.find(name, stop)
        if found is None:
            raise RuntimeUnavailable(name, "no such interpreter was found", "Name its path in the settings")
        if name.startswith("python"):
            return self._interpreter_root / build_python_interpreter(self._interpreter_root, found, stop)
        return self._interpreter_root / self._node.build_interpreter(name.removeprefix("nodejs"), found, stop)

    def _prepare(self, runtime: Runtime, stop: Stop) -> PreparedRuntime:
        try:
            for root in (self._runtime_root, self._interpreter_root):
                sweep(root)
            match runtime.family:
                case Family.PYTHON if runtime.version in _PYTHON_VERSIONS:
                    return self._prepare_python(runtime, stop)
                case Family.NODEJS if runtime.version in _NODE_VERSIONS:
                    return self._prepare_node(runtime, stop)
                case Family.PROVIDED if runtime.version != "al1":
                    return PreparedRuntime(
                        identifier=runtime.identifier, argv=(), version=runtime.version_text, runtime=runtime,
                        bootstrap_candidates=runtime.bootstrap_candidates,
                    )  # fmt: skip
                case _:
                    raise RuntimeUnavailable(
                        runtime.identifier,
                        "Lambent has no client for it yet",
                        "Use a Python or Node.js runtime, or provided.al2023 with a bootstrap of your own",
                    )
        except (CommandFailed, OSError) as error:
            raise RuntimeUnavailable(
                runtime.identifier, f"its parts could not be installed: {error}", "Mend that and deploy again"
            ) from error

    def _prepare_python(self, runtime: Runtime, stop: Stop) -> PreparedRuntime:
        name = _interpreter_name(runtime)
        found = self._search.find(name, stop) or self._fetch_python(runtime, stop)
        self._progress(f"{runtime.identifier}: using {found.executable}")
        interpreter = build_python_interpreter(self._interpreter_root, found, stop)
        target = PythonTarget(runtime.version, self._interpreter_root / interpreter / "bin" / name)
        tree = build_python_runtime(self._runtime_root, target, found, self._installers, self._progress, stop)
        return PreparedRuntime(
            identifier=runtime.identifier,
            argv=("/var/runtime/bootstrap", f"/var/lang/bin/{name}", "/var/runtime/bootstrap.py"),
            runtime_tree=tree,
            interpreter_tree=interpreter,
            # Recorded from AWS: from Amazon Linux 2023 on.
            environ=(("LC_CTYPE", "C.UTF-8"),) if int(runtime.version.split(".")[1]) >= 12 else (),
            version=runtime.version_text,
            runtime=runtime,
            python=target,
        )

    def _fetch_python(self, runtime: Runtime, stop: Stop) -> Interpreter:
        name = _interpreter_name(runtime)
        self._progress(f"{runtime.identifier}: fetching Python {runtime.version}")
        try:
            folder = self._installers.install_interpreter(runtime.version, stop)
        except CommandFailed as error:
            raise RuntimeUnavailable(
                runtime.identifier,
                f"there is no Python {runtime.version} on it, and none could be fetched ({error})",
                f'Install Python {runtime.version} or name one in the settings: interpreters."{name}" = "/path"',
            ) from error
        newest = max(folder.glob(f"cpython-{runtime.version}.*"), default=folder)
        fetched = InterpreterSearch({name: newest}, {})
        found = fetched.find(name, stop)
        if found is None:
            raise RuntimeUnavailable(runtime.identifier, "the Python that uv fetched does not run", "Install another")
        return found

    def _prepare_node(self, runtime: Runtime, stop: Stop) -> PreparedRuntime:
        name = _interpreter_name(runtime)
        found = self._search.find(name, stop)
        if found is not None:
            self._progress(f"{runtime.identifier}: using {found.executable}")
        try:
            interpreter = self._node.build_interpreter(runtime.version, found, stop)
        except CommandFailed as error:
            raise RuntimeUnavailable(
                runtime.identifier,
                f"there is no Node.js {runtime.version} on it, and none could be fetched ({error})",
                "Install what it says is missing (libatomic.so.1 is in the package libatomic1)"
                if "shared libraries" in str(error)
                else f'Install Node.js {runtime.version} or name one in the settings: interpreters."{name}" = "/path"',
            ) from error
        tree = self._node.build_runtime(runtime.version, stop)
        # Recorded from AWS, January 2026.
        paths = [
            f"/opt/nodejs/node{runtime.version}/node_modules", "/opt/nodejs/node_modules", "/var/runtime/node_modules",
            "/var/runtime", "/var/task",
        ]  # fmt: skip
        environ = [("NODE_PATH", ":".join(paths))]
        if runtime.version in BRINGS_AUTHORITIES:
            environ.append(("NODE_EXTRA_CA_CERTS", "/var/runtime/ca-cert.pem"))
        return PreparedRuntime(
            identifier=runtime.identifier,
            argv=("/var/runtime/bootstrap", "--node", "/var/lang/bin/node", "/var/runtime/index.mjs"),
            runtime_tree=tree,
            interpreter_tree=interpreter,
            environ=tuple(environ),
            version=runtime.version_text,
            runtime=runtime,
        )


def _interpreter_name(runtime: Runtime) -> str:
    return f"{runtime.family}{runtime.version}"


_PYTHON_VERSIONS: Final = tuple(f"3.{minor}" for minor in range(8, 16))
_NODE_VERSIONS: Final = ("16", "18", "20", "22", "24", "26")


async def _run_in_thread(work: Callable[[Stop], _T]) -> _T:
    """Return what ``work`` returns. If the caller is cancelled, ask ``work`` to stop and wait until it has."""
    stop = Stop()
    future = asyncio.get_running_loop().run_in_executor(None, work, stop)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        stop.ask()
        while not future.done():
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await asyncio.shield(future)
        raise

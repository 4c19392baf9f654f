"""/var/lang and /var/runtime for Python. Blocking; runs in a thread."""

import os
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from lambent.model.ids import TreeName
from lambent.model.interpreters import PythonTarget
from lambent.runtimes.commands import Progress, Stop, run_command
from lambent.runtimes.installers import Installers
from lambent.runtimes.interpreters import Interpreter
from lambent.runtimes.trees import copy_files, ensure_tree, name_tree

_LAYOUT: Final = "1"  # changes when a tree of the same inputs would come out differently
_COMPILE_LIMIT_S: Final = 300.0
_CHECK_LIMIT_S: Final = 20.0
_PROGRAMS: Final = ("bootstrap.py", "stem_cell.py")
_LEFT_OUT: Final = ("site-packages", "test", "idlelib", "turtledemo")


def build_python_interpreter(root: Path, found: Interpreter, stop: Stop) -> TreeName:
    """Return the tree for /var/lang. It brings no package but the standard library, whatever the host has installed.

    One of the system is a virtual environment of links, as /usr is in every sandbox; any other is copied, so that
    upgrades of the original change no function and nothing above it needs to be readable.
    """
    if found.prefix.parent == root:
        return TreeName(found.prefix.name)  # built before, by whoever could read the original
    program = f"python{'.'.join(found.version.split('.')[:2])}"
    status = found.executable.stat()
    inputs = (_LAYOUT, str(found.executable), found.version, f"{status.st_size} {status.st_mtime_ns}")
    name = name_tree(program, *inputs)

    def fill(tree: Path) -> None:
        (tree / "lib" / program / "site-packages").mkdir(parents=True)
        (tree / "bin").mkdir()
        if found.is_of_the_system:
            (tree / "bin" / program).symlink_to(found.executable)
            (tree / "pyvenv.cfg").write_text(
                f"home = {found.executable.parent}\ninclude-system-site-packages = false\nversion = {found.version}\n"
            )
        else:
            copy_files(_find_parts(found, program, tree))
        for link in ("python3", "python"):
            (tree / "bin" / link).symlink_to(program)
        check = "import ctypes, hashlib, json, socket, ssl, zlib"
        run_command(
            [str(tree / "bin" / program), "-I", "-c", check],
            {"LD_LIBRARY_PATH": str(tree / "lib")},
            cwd=Path("/"),
            limit_s=_CHECK_LIMIT_S,
            stop=stop,
        )

    ensure_tree(root, name, fill)
    return name


def build_python_runtime(
    root: Path, target: PythonTarget, found: Interpreter, installers: Installers, progress: Progress, stop: Stop
) -> TreeName:
    """Return the tree for /var/runtime: AWS's runtime client, boto3, our programs, all of it compiled."""
    package = files("lambent.runtimes")
    start = package.joinpath("start.sh").read_text()
    programs = {name: package.joinpath("python", name).read_text() for name in _PROGRAMS}
    locked = package.joinpath("python", f"requirements-{target.version}.txt")
    magic = f"{target.version} {found.machine}"
    name = name_tree(f"runtime-python{target.version}", _LAYOUT, magic, start, *programs.values(), locked.read_text())

    def fill(tree: Path) -> None:
        progress(f"python{target.version}: installing AWS's runtime client and boto3")
        with as_file(locked) as requirements:
            installers.install_python(requirements, tree, target.version, found.machine, stop)
        for stray in [*tree.glob("*.pth"), *tree.glob("bin/*")]:
            stray.unlink()
        (tree / "bootstrap").write_text(start)
        (tree / "bootstrap").chmod(0o755)
        for program, text in programs.items():
            (tree / program).write_text(text)
        progress(f"python{target.version}: compiling")
        # Unchecked: the tree never changes. -d: tracebacks show where the function sees it.
        run_command(
            [
                str(target.executable), "-I", "-m", "compileall", "-q", "-f", "--invalidation-mode=unchecked-hash",
                "-d", "/var/runtime", str(tree),
            ],
            {"LD_LIBRARY_PATH": str(target.executable.parent.parent / "lib"), "PATH": "/usr/bin:/bin"},
            cwd=Path("/"),
            limit_s=_COMPILE_LIMIT_S,
            stop=stop,
        )  # fmt: skip

    ensure_tree(root, name, fill)
    return name


def _find_parts(found: Interpreter, program: str, tree: Path) -> Iterator[tuple[Path, Path]]:
    """Yield what of a whole installation is needed to run: program, shared libraries, standard library."""
    yield found.executable, tree / "bin" / program
    for library in sorted((found.prefix / "lib").glob("*.so*")):
        yield library, tree / "lib" / library.name
    standard = found.prefix / "lib" / program
    for folder, folders, names in os.walk(standard):
        here = Path(folder)
        if here == standard:
            folders[:] = [each for each in folders if each not in _LEFT_OUT and not each.startswith("config-")]
        for each in names:
            yield here / each, tree / "lib" / program / (here / each).relative_to(standard)

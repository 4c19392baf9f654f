"""From a directory to a deployment package: what to take, dependencies, a ZIP that is the same for the same files."""

import io
import os
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from lambent.cli.client import CommandFailed

IGNORED = {".git", ".venv", "__pycache__", ".DS_Store", "lambent.toml", ".pytest_cache", ".mypy_cache"}
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest a ZIP can say: equal files give an equal CodeSha256


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionFile:
    """``[function]`` of a directory's ``lambent.toml``, with flags over it."""

    name: str
    runtime: str
    handler: str
    memory_mib: int | None = None
    timeout_s: int | None = None
    tmp_mib: int | None = None
    description: str | None = None
    role: str = "arn:aws:iam::000000000000:role/lambent"
    environment: dict[str, str] = field(default_factory=dict)
    requirements: str | None = None  # a pip requirements file whose packages go into the ZIP
    log_format: str | None = None

    def members(self) -> dict[str, Any]:
        """Return the members that CreateFunction and UpdateFunctionConfiguration share."""
        members: dict[str, Any] = {"Runtime": self.runtime, "Handler": self.handler, "Role": self.role}
        for name, value in (
            ("MemorySize", self.memory_mib),
            ("Timeout", self.timeout_s),
            ("Description", self.description),
        ):
            if value is not None:
                members[name] = value
        if self.tmp_mib is not None:
            members["EphemeralStorage"] = {"Size": self.tmp_mib}
        if self.log_format is not None:
            members["LoggingConfig"] = {"LogFormat": self.log_format}
        members["Environment"] = {"Variables": self.environment}
        return members


def read_function_file(directory: Path, flags: dict[str, Any]) -> FunctionFile:
    """Return what ``directory`` deploys as: its lambent.toml, then ``flags`` (None: not given)."""
    path = directory / "lambent.toml"
    table: dict[str, Any] = {}
    if path.exists():
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8")).get("function", {})
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise CommandFailed(f"{path}: {error}") from error
    if not isinstance(table, dict):
        raise CommandFailed(f"{path}: [function] must be a table")
    table.update({name: value for name, value in flags.items() if value not in (None, {})})
    table.setdefault("name", directory.resolve().name)
    unknown = set(table) - set(FunctionFile.__dataclass_fields__)
    if unknown:
        raise CommandFailed(f"{path}: unknown settings in [function]: {', '.join(sorted(unknown))}")
    for needed in ("runtime", "handler"):
        if needed not in table:
            raise CommandFailed(f'{path} names no {needed}: write `{needed} = "…"` under [function] or give --{needed}')
    try:
        return msgspec.convert(table, FunctionFile)
    except msgspec.ValidationError as error:
        raise CommandFailed(f"{path}: {error}") from error


def build_package(directory: Path, function: FunctionFile) -> bytes:
    """Return the ZIP of ``directory`` with the packages of its requirements file."""
    if function.requirements is None:
        return zip_trees([directory])
    with tempfile.TemporaryDirectory(prefix="lambent-package-") as folder:
        install_requirements(directory / function.requirements, Path(folder), function.runtime)
        return zip_trees([Path(folder), directory])


def install_requirements(requirements: Path, target: Path, runtime: str) -> None:
    """Install wheels for ``runtime``'s Python and this machine's architecture into ``target``."""
    if not runtime.startswith("python"):
        raise CommandFailed(f"requirements are for Python runtimes; {runtime} takes what its directory holds")
    version = runtime.removeprefix("python")
    machine = os.uname().machine
    platforms = [arg for tag in ("manylinux2014", "manylinux_2_28") for arg in ("--platform", f"{tag}_{machine}")]
    command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile"]
    command += ["--only-binary", ":all:", "--python-version", version, "--implementation", "cp", *platforms]
    done = subprocess.run(  # noqa: S603  (our own interpreter, our own arguments)
        [*command, "--target", str(target), "-r", str(requirements)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CommandFailed(f"pip could not install {requirements}: {done.stderr.strip().splitlines()[-1:]}")


def zip_trees(trees: list[Path]) -> bytes:
    """Return one ZIP of all files below ``trees``; later trees win. Sorted, with fixed times, modes kept."""
    files: dict[str, Path] = {}
    for tree in trees:
        for folder, names, leaves in os.walk(tree):
            names[:] = sorted(name for name in names if name not in IGNORED)
            for leaf in leaves:
                if leaf not in IGNORED:
                    path = Path(folder) / leaf
                    files[path.relative_to(tree).as_posix()] = path
    if not files:
        raise CommandFailed(f"{trees[-1]} holds no files to deploy")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, EPOCH)
            mode = files[name].stat().st_mode
            entry.external_attr = (0o100000 | 0o644 | (0o111 if mode & 0o100 else 0)) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, files[name].read_bytes())
    return buffer.getvalue()

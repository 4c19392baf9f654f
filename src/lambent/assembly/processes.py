"""The command lines of the processes, and the parts that commands of ``lambent`` share with the server."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from lambent.assembly.places import Places
from lambent.config import Settings, render_settings
from lambent.runtimes.catalogue import RuntimeCatalogue
from lambent.runtimes.commands import Progress
from lambent.runtimes.provider import RuntimeProvider
from lambent.sandbox.host_memory import HostMemory, default_budget_mib


def local_endpoint(settings: Settings) -> str:
    """Return the URL at which a process of this host reaches the server."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104  (compared, not bound)
    return f"http://{host}:{settings.port}"


def build_runtimes(settings: Settings, progress: Progress = lambda text: None) -> RuntimeProvider:
    """Return the provider of runtimes of a state directory. ``progress`` is told of work that takes long."""
    places = Places.of(settings)
    return RuntimeProvider(
        RuntimeCatalogue.load(),
        runtime_root=places.runtime_root,
        interpreter_root=places.interpreter_root,
        cache_dir=places.cache_dir,
        configured={name: Path(path) for name, path in settings.interpreters.items()},
        host_environ=os.environ,
        progress=progress,
    )


def process_commands(settings: Settings, owner: tuple[int, int] | None) -> dict[str, Any]:
    """Return what the supervisor is told: two commands, whom the server runs as, how long it may drain.

    Writes the settings for the server into a file that only ``owner`` may read: no secrets on a command line.
    """
    from lambent.sandbox.launcher import main as launcher

    places = Places.of(settings)
    for root in (places.code_root, places.runtime_root, places.interpreter_root, places.cache_dir):
        _make_directory(root, owner)
    places.sandbox_dir.mkdir(mode=0o755, exist_ok=True)
    if owner is not None:
        settings = adopt_interpreters(settings)
    settings_file = places.run_dir / "settings.json"
    descriptor = os.open(settings_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(render_settings(settings))
    if owner is not None:
        os.chown(settings_file, *owner)
    roots = {"code": places.code_root, "runtime": places.runtime_root, "interpreter": places.interpreter_root}
    command = [sys.executable, "-I", launcher.__file__]
    command += [part for name, root in roots.items() for part in (f"--{name}-root", str(root))]
    command += ["--run-dir", str(places.sandbox_dir), "--disk-dir", str(_disk_dir(places))]
    command += ["--memory-limit-mib", str(settings.memory_budget_mib or default_budget_mib(HostMemory().read()))]
    command += egress_arguments(settings)
    return {
        "launcher": command,
        "server": [sys.executable, "-I", "-m", "lambent.assembly.server", str(settings_file)],
        "user": list(owner) if owner else None,
        "grace_s": settings.drain_s + 10.0,
        "hang_s": settings.hang_s,
    }


def egress_arguments(settings: Settings) -> list[str]:
    """Return the launcher's arguments that say what sandboxes may reach."""
    if settings.egress == "none" or settings.driver != "bubblewrap":
        return []
    allowed = [part for network in settings.egress_allow for part in ("--egress-allow", network)]
    return ["--egress", "internet", "--egress-mbit-per-s", str(settings.egress_mbit_per_s), *allowed]


def adopt_interpreters(settings: Settings) -> Settings:
    """Return settings whose interpreters the server's own user can read: root copies what only root can."""
    runtimes, interpreters = build_runtimes(settings), dict(settings.interpreters)
    for name, path in settings.interpreters.items():
        if not is_public(Path(path)):
            interpreters[name] = str(runtimes.adopt_interpreter(name))
    return msgspec.structs.replace(settings, interpreters=interpreters)


def is_public(path: Path) -> bool:
    """Whether every user of this host can reach and read ``path``."""
    try:
        return all(each.stat().st_mode & 0o005 == 0o005 for each in (path.resolve(), *path.resolve().parents))
    except OSError:
        return False


def _make_directory(path: Path, owner: tuple[int, int] | None) -> None:
    path.mkdir(mode=0o755, exist_ok=True)
    if owner is not None:
        os.chown(path, *owner)


def _disk_dir(places: Places) -> Path:
    """Return where /tmp of sandboxes lies: beside the state, which is on a disk, where the run directory may not be."""
    path = places.state_dir / "tmp"
    path.mkdir(mode=0o755, exist_ok=True)
    return path


def write_endpoint(places: Places, endpoint: str) -> None:
    """Say in the run directory that the server is ready, and where."""
    temporary = places.endpoint_file.with_suffix(".new")
    temporary.write_text(json.dumps({"endpoint": endpoint, "pid": os.getpid()}) + "\n")
    temporary.replace(places.endpoint_file)

"""Commands on the server itself: start, stop, status."""

import contextlib
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from lambent.cli.client import Client, CommandFailed
from lambent.cli.output import note, print_json
from lambent.cli.private_prefixes import Shown, find_private, own_directories, show
from lambent.config import Settings

READY_WAIT_S = 30.0
STOP_WAIT_S = 30.0


def start(settings: Settings, *, foreground: bool) -> None:
    """Start supervisor, launcher and server; return once requests are answered, or stay as the supervisor."""
    state_dir, run_dir = Path(settings.state_dir), Path(settings.run_dir)
    require_sane_directories(state_dir)
    if (pid := running_pid(run_dir)) is not None:
        raise CommandFailed(f"already running as process {pid} with {state_dir}; `lambent stop` ends it")
    prepare_directories(settings)
    private = private_directories(settings)
    if not private:
        require_readable_program(settings.server_user, server_user(settings))
    require_driver(settings)
    require_free_port(settings.host, settings.port)
    command = supervisor_command(settings)
    if os.geteuid() == 0:
        os.environ["HOME"] = settings.state_dir  # the server's own user has none, and may not read root's
    if foreground:
        write_pid(run_dir, os.getpid())
        if private:
            show(private)
        os.execv(command[0], command)  # noqa: S606  (becoming the supervisor is the point)
    log_path = run_dir / "lambent.log"
    with log_path.open("ab") as log:
        process = subprocess.Popen(  # noqa: S603  (our own interpreter and file)
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=partial(show, private) if private else None,
        )
    write_pid(run_dir, process.pid)
    endpoint = wait_until_ready(settings, process, log_path)
    click.echo(f"Lambent answers at {endpoint}")
    note(f"state {state_dir} · log {log_path} · stop with `lambent stop`")


def private_directories(settings: Settings) -> Sequence[Shown]:
    """Return what the server needs and its own user cannot reach; nothing for an ordinary user."""
    if os.geteuid():
        return ()
    return find_private(own_directories(), (Path(settings.state_dir), Path(settings.run_dir)))


def supervisor_command(settings: Settings) -> list[str]:
    """Return the supervisor's command line, which holds those of launcher and server."""
    from lambent.assembly.processes import process_commands
    from lambent.sandbox import supervisor

    specification = json.dumps(process_commands(settings, server_user(settings)))
    return [sys.executable, "-I", supervisor.__file__, specification]


def require_sane_directories(state_dir: Path) -> None:
    """Refuse to mix root's state and a user's: files of two owners in one place end in neither working."""
    if state_dir.exists() and os.geteuid() and state_dir.stat().st_uid != os.geteuid():
        owner = pwd.getpwuid(state_dir.stat().st_uid).pw_name
        raise CommandFailed(f"{state_dir} belongs to {owner}; choose another with --state-dir")
    if state_dir.exists() and os.geteuid() == 0:
        database = state_dir / "lambent.db"
        if database.exists() and state_dir.stat().st_uid not in (0, database.stat().st_uid):
            raise CommandFailed(f"{state_dir} is a user's; root needs one of its own (--state-dir)")


def server_user(settings: Settings) -> tuple[int, int] | None:
    """Return whom the server runs as: (uid, gid) as root, None for an ordinary user."""
    if os.geteuid():
        return None
    try:
        entry = pwd.getpwnam(settings.server_user)
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", settings.server_user]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  (fixed words)
        if done.returncode:
            raise CommandFailed(f"no user {settings.server_user}, and useradd says: {done.stderr.strip()}") from None
        note(f"made the system user {settings.server_user}")
        entry = pwd.getpwnam(settings.server_user)
    return entry.pw_uid, entry.pw_gid


def require_readable_program(name: str, owner: tuple[int, int] | None) -> None:
    """Refuse to start as root from where the server's own user cannot read: it would never come up."""
    if owner is None:
        return
    reads = [sys.executable, "-I", "-S", "-c", "import sys; open(sys.argv[1]).close()", __file__]
    try:
        done = subprocess.run(  # noqa: S603  (our own interpreter and file)
            reads, user=owner[0], group=owner[1], extra_groups=[], capture_output=True, check=False, cwd="/"
        )
        if done.returncode == 0:
            return
    except PermissionError:
        pass
    raise CommandFailed(
        f"the server runs as the user {name}, who cannot read {sys.executable} or {__file__}; "
        "install Lambent where everyone can read it, for instance below /opt"
    )


def require_driver(settings: Settings) -> None:
    """Refuse to start where no sandbox could be made: later is too late to say so."""
    from lambent.sandbox.probe import probe_required

    if settings.driver == "bubblewrap" and (failed := probe_required()):
        raise CommandFailed(f"no sandbox can be made: {failed[0].name}: {failed[0].detail}; {failed[0].remedy}")


def prepare_directories(settings: Settings) -> None:
    """Make the state and run directories, owned by whom the server runs as; parents stay as they are."""
    owner = server_user(settings)
    for directory in (Path(settings.state_dir), Path(settings.run_dir)):
        try:
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            if owner is not None:
                os.chown(directory, *owner)
        except OSError as error:
            raise CommandFailed(f"cannot use {directory}: {error.strerror}") from error


def require_free_port(host: str, port: int) -> None:
    """Refuse a taken port, and say who has it where that can be seen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            holder = port_holder(port)
            raise CommandFailed(
                f"cannot listen on {host}:{port}: {error.strerror}{holder}; choose another with --port"
            ) from error


def port_holder(port: int) -> str:
    """Return " (held by NAME, process N)" for the listener on ``port``, or an empty text where /proc does not tell."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if int(fields[1].rsplit(":", 1)[1], 16) == port and fields[3] == "0A":
                    inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                if os.readlink(descriptor) in inodes:
                    return f" (held by {(process / 'comm').read_text().strip()}, process {process.name})"
    return ""


def write_pid(run_dir: Path, pid: int) -> None:
    """Write the supervisor's process id, with its start time so that a reused id is not taken for it."""
    (run_dir / "lambent.pid").write_text(f"{pid} {_start_time(pid)}\n")


def running_pid(run_dir: Path) -> int | None:
    """Return the supervisor's process id if it lives."""
    try:
        pid_text, started = (run_dir / "lambent.pid").read_text().split()
        return int(pid_text) if _start_time(int(pid_text)) == started else None
    except (OSError, ValueError):
        return None


def _start_time(pid: int) -> str:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return "gone"
    # A container's first process may never take in the dead whom it inherits.
    return "gone" if fields[0] in "ZX" else fields[19]


def endpoint_of(run_dir: Path) -> str | None:
    """Return the URL that the server wrote when it became ready."""
    try:
        return str(json.loads((run_dir / "endpoint.json").read_text())["endpoint"])
    except (OSError, ValueError, KeyError):
        return None


def wait_until_ready(settings: Settings, process: "subprocess.Popen[bytes]", log_path: Path) -> str:
    """Return the endpoint once it answers; CommandFailed with the log's end if the server does not come up."""
    from lambent.assembly.processes import local_endpoint

    client = Client(local_endpoint(settings), timeout_s=5)
    give_up_at = time.monotonic() + READY_WAIT_S
    while time.monotonic() < give_up_at and process.poll() is None:
        if (endpoint := endpoint_of(Path(settings.run_dir))) is not None:
            with contextlib.suppress(CommandFailed):
                if client.plain_get("/_lambent/ready").status == 200:
                    return endpoint
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    tail = "\n".join(log_path.read_text(errors="replace").splitlines()[-12:])
    raise CommandFailed(f"Lambent did not become ready; the end of {log_path}:\n{tail}")


def stop(settings: Settings) -> None:
    """End the server in order: invocations in flight finish (bounded), sandboxes end, nothing is left behind."""
    run_dir = Path(settings.run_dir)
    pid = running_pid(run_dir)
    if pid is None:
        raise CommandFailed(f"not running (state {settings.state_dir})", code=3)
    try:
        os.kill(pid, signal.SIGTERM)
    except PermissionError as error:
        raise CommandFailed(f"process {pid} belongs to another user") from error
    give_up_at = time.monotonic() + STOP_WAIT_S + settings.drain_s
    while running_pid(run_dir) is not None:
        if time.monotonic() > give_up_at:
            raise CommandFailed(f"process {pid} has not ended after {STOP_WAIT_S + settings.drain_s:.0f} s")
        time.sleep(0.02)
    (run_dir / "lambent.pid").unlink(missing_ok=True)
    note("stopped")


def status(settings: Settings, *, as_json: bool) -> int:
    """Print whether it runs, where, and whether it answers; exit code 3 when it does not run."""
    run_dir = Path(settings.run_dir)
    pid, endpoint = running_pid(run_dir), endpoint_of(run_dir)
    is_ready, there = False, {}
    if pid is not None and endpoint is not None:
        with contextlib.suppress(CommandFailed):
            client = Client(endpoint, timeout_s=5)
            is_ready = client.plain_get("/_lambent/ready").status == 200
            there = client.plain_get("/_lambent/status").json()
    found: dict[str, Any] = {
        "running": pid is not None,
        "ready": is_ready,
        "pid": pid,
        "endpoint": endpoint if pid is not None else None,
        "state_dir": settings.state_dir,
        **there,
    }
    if as_json:
        print_json(found)
    elif pid is None:
        click.echo(f"not running (state {settings.state_dir})")
    else:
        click.echo(f"{'ready' if is_ready else 'not ready'} at {endpoint}, process {pid}, state {settings.state_dir}")
        if there:
            click.echo(_describe_environments(there))
    return 0 if is_ready else 3


def _describe_environments(there: Mapping[str, Any]) -> str:
    environments, cells = there["environments"], there["cells"]
    ready = ", ".join(f"{count} {runtime}" for runtime, count in sorted(cells["ready"].items()) if count) or "none"
    return f"environments: {environments['all']}, idle {environments['idle']}; prepared: {ready}; used {cells['taken']}"

"""What this host can enforce, probed now: one line a guarantee, with what to do where it is missing."""

import asyncio
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from lambent.cli.client import Client, CommandFailed
from lambent.cli.output import print_json
from lambent.cli.server_commands import endpoint_of, port_holder, require_free_port, running_pid
from lambent.config import Settings

DISK_WANTED_BYTES = 2 * 1024**3
# Without these the bubblewrap driver starts nothing; without the others something is weaker, as the line says.
REQUIRED = {
    "bubblewrap",
    "user namespaces",
    "a sandbox",
    "network namespaces",
    "calls that mount code into running sandboxes",
    "a system call filter",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One guarantee on this host. ``is_required``: without it no function runs; else something is weaker, as said."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    is_required: bool = False


def doctor(settings: Settings, *, as_json: bool) -> int:
    """Print the findings; exit code 1 when something required is missing."""
    findings = [*host_findings(settings), *driver_findings(settings), *runtime_findings(settings)]
    findings += [*cell_findings(settings), *place_findings(settings), *server_findings(settings)]
    if as_json:
        print_json([asdict(each) for each in findings])
    else:
        for each in findings:
            print_finding(each)
    return 1 if any(each.is_required and not each.ok for each in findings) else 0


def print_finding(finding: Finding) -> None:
    """Print one line, and a second one with the remedy where something is missing."""
    colour = "green" if finding.ok else ("red" if finding.is_required else "yellow")
    word = "ok" if finding.ok else ("missing" if finding.is_required else "weaker")
    click.echo(f"{click.style(word.ljust(8), fg=colour)} {finding.name}: {finding.detail}")
    if not finding.ok and finding.remedy:
        click.echo(f"         → {finding.remedy}")


def host_findings(settings: Settings) -> Sequence[Finding]:
    """Return what the sandbox's own probes found."""
    from lambent.sandbox.probe import probe_host

    needs_all = settings.driver == "bubblewrap"
    probes = probe_host(Path(settings.state_dir))
    return [
        Finding(each.name, each.ok, each.detail, each.remedy, needs_all and each.name in REQUIRED) for each in probes
    ]


def driver_findings(settings: Settings) -> Sequence[Finding]:
    """Return what the driver that is set gives nobody, on any host: for `process` all of it, in words."""
    if settings.driver != "process":
        return []
    from lambent.sandbox.process import NOT_GIVEN

    remedy = 'use the bubblewrap driver (driver = "bubblewrap")'
    return [Finding(f"driver process, {setting}", False, reason, remedy) for setting, reason in NOT_GIVEN]


def cell_findings(settings: Settings) -> Sequence[Finding]:
    """Return how many sandboxes may be prepared ahead of demand; without them a cold start takes as long as a spawn."""
    from lambent.assembly.cells import count_cells
    from lambent.sandbox.host_memory import HostMemory, default_budget_mib

    count = count_cells(settings, settings.memory_budget_mib or default_budget_mib(HostMemory().read()))
    if count:
        return [Finding("prepared sandboxes", True, f"up to {count}, for cold starts of milliseconds")]
    remedy = "set max_cells above 0, a memory_budget_mib of 1024 or more, and the bubblewrap driver"
    return [Finding("prepared sandboxes", False, "none: every environment is spawned", remedy)]


def server_findings(settings: Settings) -> Sequence[Finding]:
    """Return whether the server that runs is ready, and if not, why."""
    endpoint = endpoint_of(Path(settings.run_dir))
    if running_pid(Path(settings.run_dir)) is None or endpoint is None:
        return []
    remedy = f"see its log, {settings.run_dir}/lambent.log or journalctl"
    try:
        answer = Client(endpoint, timeout_s=5).plain_get("/_lambent/ready")
    except CommandFailed as error:
        return [Finding("server", False, str(error), remedy)]
    told = json.loads(answer.body or b"{}")
    if answer.status != 200:
        return [Finding("server", False, f"not ready: {told.get('reason', 'it does not say why')}", remedy)]
    return [Finding("server", True, f"ready at {endpoint}")]


def runtime_findings(settings: Settings) -> Sequence[Finding]:
    """Return which interpreters this host has; the others are fetched on demand where a registry is reached."""
    from lambent.assembly.processes import build_runtimes

    found = asyncio.run(build_runtimes(settings).find_interpreters())
    if not found:
        remedy = "install python3.11 or newer, or name one under [lambent.interpreters]"
        return [Finding("interpreters", False, "none found", remedy)]
    return [Finding(f"interpreter {each.name}", True, f"{each.version} at {each.executable}") for each in found]


def place_findings(settings: Settings) -> Sequence[Finding]:
    """Return whether state can be written, whether the disk has room, and whether the port is free."""
    state_dir = Path(settings.state_dir)
    nearest = next(each for each in (state_dir, *state_dir.parents) if each.exists())
    findings = []
    try:
        with tempfile.NamedTemporaryFile(dir=nearest):
            findings.append(Finding("state directory", True, str(state_dir), is_required=True))
    except OSError as error:
        findings.append(
            Finding("state directory", False, f"{nearest}: {error.strerror}", "choose one with --state-dir", True)
        )
    free = shutil.disk_usage(nearest).free
    has_room = free >= DISK_WANTED_BYTES
    findings.append(Finding("disk", has_room, f"{free / 1024**3:.1f} GiB free", "make room: 2 GiB at least"))
    if (pid := running_pid(Path(settings.run_dir))) is not None:
        findings.append(Finding("port", True, f"{settings.port}, Lambent runs as process {pid}"))
        return findings
    try:
        require_free_port(settings.host, settings.port)
        findings.append(Finding("port", True, f"{settings.host}:{settings.port} is free"))
    except CommandFailed:
        held = port_holder(settings.port)
        findings.append(Finding("port", False, f"{settings.port} is taken{held}", "choose another with --port"))
    return findings

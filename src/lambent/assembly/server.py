"""The server process: builds the object graph from the settings, serves until it is told to stop, takes it all down."""

import asyncio
import fcntl
import gc
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

if __name__ == "__main__":
    # structlog imports rich if it finds it, for tracebacks that we do not print: a tenth of what all imports cost.
    sys.modules["rich"] = None  # type: ignore[assignment]

import structlog
import uvloop

from lambent.access.origins import require_safe_bind
from lambent.access.role_credentials import RoleCredentials
from lambent.access.sealing import load_or_create_key
from lambent.artifacts.code import Artifacts
from lambent.assembly.clock import SystemClock
from lambent.assembly.graph import Ground, build_gateway, credential_lifetime_s
from lambent.assembly.loops import open_loops
from lambent.assembly.places import Places
from lambent.assembly.processes import write_endpoint
from lambent.assembly.pulse import beat, take_notes
from lambent.assembly.upkeep import watch_store
from lambent.config import Settings, parse_settings
from lambent.http.limits import HttpLimits
from lambent.http.server import HttpServer
from lambent.model.errors import HostError, Refused
from lambent.model.ids import SandboxId
from lambent.observe.process_log import configure_process_log
from lambent.sandbox.bubblewrap import BubblewrapDriver
from lambent.sandbox.driver import Limits, SandboxDriver, SandboxSpec
from lambent.sandbox.launcher_client import LauncherClient
from lambent.sandbox.process import NOT_GIVEN, ProcessDriver
from lambent.store.sqlite.engine import open_sqlite_store

CLOSE_LIMIT_S = 1.0  # for answers that are on their way to slow callers

# What an invocation makes it also frees, without cycles: looking for them every 700 objects, as Python does by default,
# took 5 % of its instructions. What cycles there are wait a little longer, some megabytes at most.
GC_THRESHOLDS: Final = (20_000, 20, 50)

log = structlog.get_logger(__name__)


async def serve(settings: Settings, channel: socket.socket) -> None:
    """Run the server until SIGTERM or SIGINT; on return everything of it has ended."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    places, clock = Places.of(settings), SystemClock()
    async with AsyncExitStack() as stack:
        stack.enter_context(held_directory(places))
        listener = open_listener(settings)
        stack.callback(listener.close)
        store = await stack.enter_async_context(
            open_sqlite_store(places.state_dir, clock=clock, stream_limit_bytes=settings.log_limit_mib << 20)
        )
        key = await asyncio.to_thread(load_or_create_key, places.key_file)
        artifacts = Artifacts(places.code_root, store.blobs)
        await artifacts.open()
        stack.callback(artifacts.close)
        driver = await stack.enter_async_context(open_driver(settings, places, channel))
        egress = choose_egress(settings, driver)
        loops = await stack.enter_async_context(open_loops())
        roles = RoleCredentials(clock, credential_lifetime_s(settings))
        ground = Ground(
            settings, store, key, artifacts, driver, roles=roles, clock=clock, stack=stack, loops=loops, egress=egress
        )
        gateway = await build_gateway(ground)
        server = HttpServer(gateway, HttpLimits(), clock_mono=clock.mono_s)
        await server.serve(listener)
        endpoint = f"http://{settings.host}:{listener.getsockname()[1]}"
        await asyncio.to_thread(write_endpoint, places, endpoint)
        gc.freeze()  # what lives as long as the process need not be looked through again
        gc.set_threshold(*GC_THRESHOLDS)
        log.info("server_ready", endpoint=endpoint, driver=settings.driver, signatures=settings.signatures)
        if (notes := take_notes(os.environ)) is not None:
            loops.start("pulse", beat(notes, clock))
        loops.start("store watch", watch_store(store, clock))
        await stop.wait()
        await asyncio.to_thread(places.endpoint_file.unlink, missing_ok=True)
        log.info("server_stopping", drain_s=settings.drain_s)
        if unfinished := await gateway.stop(settings.drain_s):
            log.warning("server_cuts_off", requests=unfinished)
        await server.close(CLOSE_LIMIT_S)


@asynccontextmanager
async def open_driver(settings: Settings, places: Places, channel: socket.socket) -> AsyncIterator[SandboxDriver]:
    """Yield the driver that the settings name, never a weaker one. HostError if it does not work here."""
    if settings.driver == "process":
        log.warning("driver_isolates_nothing", driver="process")
        for setting, reason in NOT_GIVEN:
            log.warning("setting_not_enforced", setting=setting, reason=reason, remedy="use the bubblewrap driver")
        yield ProcessDriver(
            code_root=places.code_root,
            runtime_root=places.runtime_root,
            interpreter_root=places.interpreter_root,
            run_dir=places.run_dir,
        )
        return
    async with LauncherClient(channel).running() as client:
        for refusal in client.missing:
            if refusal.setting == "egress":
                continue  # ``choose_egress`` has its own words
            log.warning("setting_not_enforced", setting=refusal.setting, reason=refusal.reason, remedy=refusal.remedy)
        yield BubblewrapDriver(client)


def choose_egress(settings: Settings, driver: SandboxDriver) -> str:
    """Return what functions may reach: what is wanted, or nothing, with a warning, where that was left to us.

    Refused where the operator asked for the internet by name and this host cannot give it.
    """
    if settings.egress == "none" or settings.driver == "process":
        return "none"
    wanted = SandboxSpec(sandbox_id=SandboxId("egress"), limits=Limits(memory_mib=128, tmp_mib=512), egress="internet")
    refusal = next((each for each in driver.unsupported(wanted) if each.setting == "egress"), None)
    if refusal is None:
        return "internet"
    if settings.egress == "internet":
        raise Refused(refusal.setting, refusal.reason, refusal.remedy)
    log.warning("functions_reach_no_network", reason=refusal.reason, remedy=refusal.remedy)
    return "none"


@contextmanager
def held_directory(places: Places) -> Iterator[None]:
    """Hold the state directory for this process alone. Refused if another server has it."""
    descriptor = os.open(places.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise Refused(
            "state_dir", f"{places.state_dir} is in use by another server", "stop it, or choose another"
        ) from error
    finally:
        os.close(descriptor)


def open_listener(settings: Settings) -> socket.socket:
    """Return the bound socket of the endpoint. OSError if the address is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((settings.host, settings.port))
    listener.setblocking(False)
    return listener


def main() -> int:
    """Serve with the settings file argv[1] and the launcher's channel argv[2]. Exit 3: no use in another try."""
    settings = parse_settings(Path(sys.argv[1]).read_text())
    configure_process_log(settings.log_format)
    try:
        require_safe_bind(settings.host, settings.signatures)
        uvloop.run(serve(settings, socket.socket(fileno=int(sys.argv[2]))))
    except (HostError, OSError) as error:
        log.error("server_cannot_start", cause=str(error))
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())

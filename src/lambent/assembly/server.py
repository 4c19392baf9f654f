"""The server process: builds the object graph from the settings, serves until it is told to stop, takes it all down."""

import asyncio
import gc
import platform
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import uvloop

from lambent.access.origins import decide_origin, require_safe_bind
from lambent.access.role_credentials import RoleCredentials
from lambent.access.sealing import Sealer, load_or_create_key
from lambent.access.signed_url import CodeUrls
from lambent.access.sigv4 import SignatureVerifier
from lambent.artifacts.code import Artifacts
from lambent.assembly.clock import SystemClock
from lambent.assembly.doors import CodeLocations, KnownCredentials, refuse_events
from lambent.assembly.loops import Loops, open_loops
from lambent.assembly.places import Places
from lambent.assembly.processes import build_runtimes, write_endpoint
from lambent.assembly.stock import CatalogueRules
from lambent.config import Settings, parse_settings
from lambent.control.commands import LambdaCommands
from lambent.control.quotas import AccountQuotas
from lambent.control.variables import VariableVault
from lambent.environment.api_server import ApiServers
from lambent.environment.assignment import Assigner
from lambent.environment.deadlines import Deadlines
from lambent.environment.environment import EnvironmentTools
from lambent.environment.environments import Environments
from lambent.environment.placement import PoolLimits
from lambent.frontend.answers import Answers
from lambent.frontend.calls import Calls
from lambent.frontend.gateway import Gateway
from lambent.frontend.invoke import InvokeDoor
from lambent.frontend.seams import Service
from lambent.http.limits import HttpLimits
from lambent.http.server import HttpServer
from lambent.invoke.access import OwnAccountOnly
from lambent.invoke.concurrency import Concurrency
from lambent.invoke.functions import FunctionView
from lambent.invoke.invoker import Invoker
from lambent.invoke.records import InvocationRecords
from lambent.model.documents import FunctionSpec
from lambent.model.errors import HostError
from lambent.neighbours.catalogue import build_catalogue
from lambent.neighbours.s3 import ObjectFetcher
from lambent.observe.billing import Billing
from lambent.observe.log_events import StoredEvents
from lambent.observe.log_groups import LogGroups
from lambent.observe.log_writer import LogWriter
from lambent.observe.logs_api import LogsApi
from lambent.observe.metrics import FunctionMetrics, PlatformMetrics
from lambent.observe.process_log import configure_process_log
from lambent.observe.store_seam import StoredDocuments, StoreParts
from lambent.observe.stream_log import StreamEnvironmentLog
from lambent.reconcile.collection import PackageCollector
from lambent.reconcile.functions import FunctionReconciler
from lambent.runtimes.catalogue import RuntimeCatalogue
from lambent.sandbox.bubblewrap import BubblewrapDriver
from lambent.sandbox.driver import SandboxDriver
from lambent.sandbox.launcher_client import LauncherClient
from lambent.sandbox.process import ProcessDriver
from lambent.store.contract import ABSENT, Conflict, Entry, Store
from lambent.store.sqlite.engine import open_sqlite_store
from lambent.wire.service import ServiceCodec

log = structlog.get_logger(__name__)
MACHINES = {"x86_64": "x86_64", "aarch64": "arm64"}  # the kernel's word → AWS's


@dataclass(frozen=True, slots=True)
class Logs:
    """The parts that log events pass through."""

    groups: LogGroups
    events: StoredEvents[Any, Any]
    writer: LogWriter


async def serve(settings: Settings, channel: socket.socket) -> None:
    """Run the server until SIGTERM or SIGINT; on return everything of it has ended."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    places, clock = Places.of(settings), SystemClock()
    async with AsyncExitStack() as stack:
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
        loops = await stack.enter_async_context(open_loops())
        logs = build_logs(store, clock)
        server = await build_server(settings, store, key, artifacts, driver, logs, stack=stack, loops=loops)
        await server.serve(listener)
        endpoint = f"http://{settings.host}:{listener.getsockname()[1]}"
        await asyncio.to_thread(write_endpoint, places, endpoint)
        gc.freeze()  # what lives as long as the process need not be looked through again
        log.info("server_ready", endpoint=endpoint, driver=settings.driver, signatures=settings.signatures)
        await stop.wait()
        log.info("server_stopping")
        places.endpoint_file.unlink(missing_ok=True)
        await server.close(settings.drain_s)


@asynccontextmanager
async def open_driver(settings: Settings, places: Places, channel: socket.socket) -> AsyncIterator[SandboxDriver]:
    """Yield the driver that the settings name, never a weaker one. HostError if it does not work here."""
    if settings.driver == "process":
        log.warning("driver_isolates_nothing", driver="process")
        yield ProcessDriver(
            code_root=places.code_root,
            runtime_root=places.runtime_root,
            interpreter_root=places.interpreter_root,
            run_dir=places.run_dir,
        )
        return
    async with LauncherClient(channel).running() as client:
        for refusal in client.missing:
            log.warning("setting_not_enforced", setting=refusal.setting, reason=refusal.reason, remedy=refusal.remedy)
        yield BubblewrapDriver(client)


def open_listener(settings: Settings) -> socket.socket:
    """Return the bound socket of the endpoint. OSError if the address is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((settings.host, settings.port))
    listener.setblocking(False)
    return listener


def build_logs(store: Store, clock: SystemClock) -> Logs:
    """Return the log parts on ``store``."""
    parts = StoreParts(documents=store.documents, streams=store.streams, entry=Entry, absent=ABSENT, conflict=Conflict)
    events = StoredEvents(parts)
    groups = LogGroups(StoredDocuments(parts), events, clock)
    return Logs(groups, events, LogWriter(groups, events, clock))


async def build_server(
    settings: Settings,
    store: Store,
    key: bytes,
    artifacts: Artifacts,
    driver: SandboxDriver,
    logs: Logs,
    *,
    stack: AsyncExitStack,
    loops: Loops,
) -> HttpServer:
    """Return the server of the endpoint, with everything behind it started."""
    clock, catalogue, runtimes = SystemClock(), RuntimeCatalogue.load(), build_runtimes(settings)
    roles = RoleCredentials(clock)
    records = InvocationRecords(clock, (FunctionMetrics(PlatformMetrics()), Billing()))
    deadlines = Deadlines(clock)
    tools = EnvironmentTools(
        driver=driver,
        servers=ApiServers(clock),
        assigner=Assigner(runtimes, artifacts, roles, Places.of(settings).code_root),
        open_log=lambda version, environment_id, at: StreamEnvironmentLog(logs.writer, version, environment_id, at),
        clock=clock,
        deadlines=deadlines,
        record=records.record_invocation,
    )
    environments = Environments(tools, pool_limits(settings))
    sealer = Sealer(key)
    vault = VariableVault(sealer)

    def open_variables(spec: FunctionSpec) -> tuple[tuple[str, str], ...]:
        return tuple((vault.open(spec) or {}).items())

    view = FunctionView(store.documents, clock, open_variables, environments.retire_outdated)
    await view.load()
    loops.start("records", records.run())
    loops.start("log writer", logs.writer.run())
    loops.start("log retention", logs.groups.run())
    loops.start("function view", view.run())
    await stack.enter_async_context(environments)
    reconciler = FunctionReconciler(store.documents, artifacts, runtimes, view.applied, clock)
    loops.start("function reconciler", reconciler.run())
    loops.start("package collection", PackageCollector(store.documents, artifacts, clock).run())
    locations = CodeLocations(CodeUrls(key, clock), store.documents, artifacts)
    fetcher = ObjectFetcher(build_catalogue(settings.endpoints))
    stack.callback(fetcher.close)
    commands = LambdaCommands(
        documents=store.documents,
        applied=view.applied,
        packages=artifacts,
        objects=fetcher,
        sealer=sealer,
        runtimes=CatalogueRules(catalogue),
        sign_location=locations.sign,
        clock=clock,
        architecture=MACHINES.get(platform.machine(), platform.machine()),
        quotas=AccountQuotas(concurrent_executions=settings.concurrency_limit),
    ).commands()
    invoker = Invoker(OwnAccountOnly(), view, Concurrency(settings.concurrency_limit), environments, clock)
    answers, calls = Answers(clock), Calls()
    stack.push_async_callback(calls.close, settings.drain_s)
    lambda_codec = ServiceCodec.load("lambda")
    logs_api = LogsApi(logs.groups, logs.events, clock, logs.writer.flush)
    services = {
        "lambda": Service(lambda_codec, commands),
        "logs": Service(ServiceCodec.load("logs"), logs_api.commands),
    }
    verifier = SignatureVerifier(settings.signatures, KnownCredentials(settings.credentials, roles), clock)
    door = InvokeDoor(
        invoker, lambda_codec, verify=verifier.verify, clock=clock, answers=answers, accept_event=refuse_events
    )
    gateway = Gateway(
        services,
        door,
        decide_origin=lambda head: decide_origin(head, settings.host, settings.allowed_hosts),
        verify=verifier.verify,
        answers=answers,
        calls=calls,
        open_code=locations.open,
        is_ready=lambda: True,
    )
    return HttpServer(gateway, HttpLimits(), clock_mono=clock.mono_s)


def pool_limits(settings: Settings) -> PoolLimits:
    """Return the bounds of all environments together; without a memory budget, three quarters of the host's."""
    budget_mib = settings.memory_budget_mib
    if not budget_mib:
        lines = Path("/proc/meminfo").read_text().splitlines()
        total_kib = next(int(line.split()[1]) for line in lines if line.startswith("MemTotal:"))
        budget_mib = total_kib * 3 // 4 // 1024
    return PoolLimits(
        max_environments=settings.max_environments,
        memory_budget_mib=budget_mib,
        idle_s=settings.idle_s,
        max_age_s=settings.max_age_s,
        drain_s=settings.drain_s,
    )


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

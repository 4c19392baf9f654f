"""The object graph: the data plane, the control plane, and the one door before both."""

import platform
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from lambent.access.credentials import Credentials
from lambent.access.origins import OriginRules
from lambent.access.role_credentials import RoleCredentials
from lambent.access.sealing import Sealer
from lambent.access.signed_url import CodeUrls
from lambent.access.sigv4 import SignatureVerifier
from lambent.access.sts import StsApi
from lambent.artifacts.code import Artifacts
from lambent.assembly.cells import build_cells, count_cells, without_cells
from lambent.assembly.clock import SystemClock
from lambent.assembly.doors import CodeLocations, EndpointInside, KnownCredentials
from lambent.assembly.events import DataPlane, build_async_invocation
from lambent.assembly.loops import Loops
from lambent.assembly.places import Places
from lambent.assembly.processes import build_runtimes
from lambent.async_invoke.invocation import AsyncInvocation
from lambent.config import Settings
from lambent.control.commands import LambdaCommands
from lambent.control.quotas import TIMEOUT_LIMIT_S, AccountQuotas
from lambent.control.variables import VariableVault
from lambent.environment.api_server import ApiServers
from lambent.environment.assignment import Assigner
from lambent.environment.deadlines import Deadlines
from lambent.environment.environment import EnvironmentTools
from lambent.environment.environments import Environments
from lambent.environment.freezing import Freezing
from lambent.environment.placement import PoolLimits
from lambent.environment.provisioned import ProvisionedKeeper
from lambent.environment.stem_cells import CellTools
from lambent.frontend.answers import Answers
from lambent.frontend.calls import Calls
from lambent.frontend.forwarding import Forwarding
from lambent.frontend.gateway import Gateway
from lambent.frontend.invoke import InvokeDoor
from lambent.frontend.seams import DecideOrigin, Service, Services, Verify
from lambent.invoke.access import FunctionPolicies
from lambent.invoke.concurrency import Concurrency
from lambent.invoke.functions import FunctionView
from lambent.invoke.invoker import Invoker
from lambent.invoke.records import InvocationRecords, RecordSink
from lambent.model.documents import FunctionSpec, function_version
from lambent.neighbours.catalogue import Catalogue, build_catalogue
from lambent.neighbours.clients import NeighbourClients
from lambent.neighbours.companion import Companion, is_installed
from lambent.neighbours.passage import Passage
from lambent.neighbours.s3 import ObjectFetcher
from lambent.observe.billing import Billing
from lambent.observe.log_events import StoredEvents
from lambent.observe.log_groups import LogGroups
from lambent.observe.log_writer import LogWriter
from lambent.observe.logs_api import LogsApi
from lambent.observe.metrics import FunctionMetrics, PlatformMetrics
from lambent.observe.store_seam import StoredDocuments, StoreParts
from lambent.observe.stream_log import StreamEnvironmentLog
from lambent.reconcile.collection import PackageCollector
from lambent.reconcile.functions import FunctionReconciler
from lambent.reconcile.provisioned import ProvisionedReconciler
from lambent.runtimes.catalogue import RuntimeCatalogue
from lambent.sandbox.driver import ENDPOINT_ADDRESS, SandboxDriver
from lambent.sandbox.host_memory import HostMemory, MemoryReading, default_budget_mib, default_reserve_mib
from lambent.store.contract import ABSENT, Conflict, Entry, Store
from lambent.wire.service import ServiceCodec

log = structlog.get_logger(__name__)

MACHINES: Final = {"x86_64": "x86_64", "aarch64": "arm64"}  # the kernel's word → AWS's


@dataclass(frozen=True, slots=True)
class Ground:
    """What everything stands on: settings, time, the store, the driver; and who ends what was started."""

    settings: Settings
    store: Store
    key: bytes = field(repr=False)
    artifacts: Artifacts
    driver: SandboxDriver
    roles: RoleCredentials
    clock: SystemClock
    stack: AsyncExitStack
    loops: Loops
    egress: str


@dataclass(frozen=True, slots=True)
class Logs:
    """The parts that log events pass through."""

    groups: LogGroups
    events: StoredEvents[Any, Any]
    writer: LogWriter


async def build_gateway(ground: Ground) -> Gateway:
    """Return the door of the endpoint, with everything behind it started."""
    logs = start_logs(ground)
    inside = EndpointInside()
    plane = await start_data_plane(ground, logs, inside)
    locations = CodeLocations(CodeUrls(ground.key, ground.clock), ground.store.documents, ground.artifacts)
    catalogue = open_catalogue(ground)
    neighbours = NeighbourClients(catalogue)
    ground.stack.callback(neighbours.close)
    events = build_async_invocation(ground.settings, ground.store, plane, neighbours, ground.clock)
    services = build_services(ground, plane, logs, locations=locations, neighbours=neighbours, events=events)
    doors = Doors(ground, plane, services, locations, events, Passage(catalogue))
    inside.connect(doors.build_inside)
    # Queued events may start environments, which need the door inside; and it ends before the environments do.
    await ground.stack.enter_async_context(events.running(ground.settings.drain_s))
    return doors.build()


def open_catalogue(ground: Ground) -> Catalogue:
    """Return where other services are; what no setting names is the companion's, if that is installed."""
    python, companion = ground.settings.companion_python, None
    if is_installed(python):
        companion = Companion(Places.of(ground.settings).companion_dir, python)
        ground.stack.push_async_callback(companion.close)
    return build_catalogue(ground.settings.endpoints, companion)


def start_logs(ground: Ground) -> Logs:
    """Return the log parts, writing and forgetting from now on."""
    store, clock = ground.store, ground.clock
    parts = StoreParts(documents=store.documents, streams=store.streams, entry=Entry, absent=ABSENT, conflict=Conflict)
    events = StoredEvents(parts)
    groups = LogGroups(StoredDocuments(parts), events, clock)
    logs = Logs(groups, events, LogWriter(groups, events, clock))
    ground.loops.start("log writer", logs.writer.run())
    ground.loops.start("log retention", logs.groups.run())
    return logs


async def start_data_plane(ground: Ground, logs: Logs, inside: EndpointInside) -> DataPlane:
    """Return the road of an invocation, with its view loaded and functions being reconciled."""
    settings, store, clock, loops = ground.settings, ground.store, ground.clock, ground.loops
    metrics = FunctionMetrics(PlatformMetrics())
    sinks: Sequence[RecordSink] = (metrics, Billing())
    records = InvocationRecords(clock, sinks)
    runtimes = build_runtimes(settings, lambda text: log.info("preparing_runtime", step=text))
    servers, deadlines = ApiServers(clock), Deadlines(clock)
    memory = HostMemory()
    limits = pool_limits(settings, memory.read())
    max_cells = count_cells(settings, limits.memory_budget_mib)
    cell_tools = CellTools(driver=ground.driver, servers=servers, runtimes=runtimes, clock=clock)
    cells = build_cells(max_cells, cell_tools, deadlines, lambda: environments.starting)
    tools = EnvironmentTools(
        driver=ground.driver,
        servers=servers,
        endpoint=inside.open,
        assigner=Assigner(runtimes, ground.artifacts, ground.roles, Places.of(settings).code_root),
        open_log=lambda version, environment_id, at: StreamEnvironmentLog(logs.writer, version, environment_id, at),
        clock=clock,
        deadlines=deadlines,
        freezing=Freezing(clock, settings.freeze_grace_ms / 1000),
        record=records.record_invocation,
        cells=cells,
    )
    environments = Environments(tools, without_cells(limits, max_cells), read_memory=memory.read)
    vault = VariableVault(Sealer(ground.key))

    def open_variables(spec: FunctionSpec) -> tuple[tuple[str, str], ...]:
        return tuple((vault.open(spec) or {}).items())

    concurrency = Concurrency(settings.concurrency_limit, clock.mono_s)
    view = FunctionView(
        store.documents, clock, open_variables, environments.retire_outdated, concurrency.apply, egress=ground.egress
    )
    await view.load()
    loops.start("records", records.run())
    loops.start("function view", view.run())
    await ground.stack.enter_async_context(cells)
    await ground.stack.enter_async_context(environments)
    reconciler = FunctionReconciler(
        store.documents,
        ground.artifacts,
        runtimes,
        view.applied,
        clock,
        expect=lambda spec: cells.expect(function_version(spec, open_variables(spec), ground.egress)),
    )
    loops.start("function reconciler", reconciler.run())
    keeper = ProvisionedKeeper(environments, clock, max_age_s=settings.max_age_s)
    loops.start("provisioned environments", keeper.run())
    loops.start("provisioned concurrency", ProvisionedReconciler(store.documents, view.resolve, keeper, clock).run())
    loops.start("package collection", PackageCollector(store.documents, ground.artifacts, clock).run())
    invoker = Invoker(FunctionPolicies(view.find_statements), view, concurrency, environments, clock)
    return DataPlane(view, invoker, metrics, environments, cells)


def build_services(
    ground: Ground,
    plane: DataPlane,
    logs: Logs,
    *,
    locations: CodeLocations,
    neighbours: NeighbourClients,
    events: AsyncInvocation,
) -> Services:
    """Return the services behind the door, with the commands that are built."""
    commands = LambdaCommands(
        documents=ground.store.documents,
        applied=plane.view.applied,
        packages=ground.artifacts,
        objects=ObjectFetcher(neighbours),
        sealer=Sealer(ground.key),
        runtimes=RuntimeCatalogue.load(),
        sign_location=locations.sign,
        clock=ground.clock,
        architecture=MACHINES.get(platform.machine(), platform.machine()),
        reachable=neighbours.find_obstacle,
        quotas=AccountQuotas(concurrent_executions=ground.settings.concurrency_limit),
    )
    logs_api = LogsApi(logs.groups, logs.events, ground.clock, logs.writer.flush)
    return {
        "lambda": Service(ServiceCodec.load("lambda"), {**commands.commands(), **events.commands()}),
        "logs": Service(ServiceCodec.load("logs"), logs_api.commands),
        "sts": Service(ServiceCodec.load("sts"), StsApi(ground.roles).commands),
    }


class Doors:
    """Builds gateways to the same services: one for the port, one for each environment."""

    def __init__(
        self,
        ground: Ground,
        plane: DataPlane,
        services: Services,
        locations: CodeLocations,
        events: AsyncInvocation,
        passage: Passage,
    ) -> None:
        self._accept_event, self._forwarding = events.acceptance.accept, Forwarding(passage)
        self._inspection = events.inspection
        self._settings, self._roles, self._clock = ground.settings, ground.roles, ground.clock
        self._store = ground.store
        self._invoker, self._services, self._locations = plane.invoker, services, locations
        self._tell_status = plane.status
        self._answers, self._calls = Answers(ground.clock), Calls()
        self._inside_origin = OriginRules(ENDPOINT_ADDRESS.partition(":")[0], ()).decide
        ground.stack.push_async_callback(self._calls.close, ground.settings.drain_s)

    def build(self) -> Gateway:
        """Return the door of the port: origins, signatures as the settings say, the road of Invoke, the operations."""
        settings = self._settings
        credentials = KnownCredentials(settings.credentials, self._roles)
        verifier = SignatureVerifier(settings.signatures, credentials, self._clock)
        return self._gateway(verifier.verify, OriginRules(settings.host, settings.allowed_hosts).decide)

    def build_inside(self, credentials: Credentials) -> Gateway:
        """Return the door of one environment: signatures always, by its own ``credentials`` alone."""
        verifier = SignatureVerifier("verify", credentials, self._clock)
        return self._gateway(verifier.verify, self._inside_origin, inside=True)

    def _find_trouble(self) -> str | None:
        return None if self._store.trouble is None else "the store cannot write"

    def _gateway(self, verify: Verify, decide_origin: DecideOrigin, *, inside: bool = False) -> Gateway:
        door = InvokeDoor(
            self._invoker,
            self._services["lambda"].codec,
            verify=verify,
            clock=self._clock,
            answers=self._answers,
            accept_event=self._accept_event,
        )
        return Gateway(
            self._services,
            door,
            decide_origin=decide_origin,
            verify=verify,
            answers=self._answers,
            calls=self._calls,
            open_code=self._locations.open,
            find_trouble=self._find_trouble,
            forwarding=self._forwarding,
            own_commands={
                "GET /_lambent/queues": self._inspection.list_queues,
                "POST /_lambent/queues/purge": self._inspection.purge,
                "POST /_lambent/queues/redrive": self._inspection.redrive,
            },
            inside=inside,
            tell_status=self._tell_status,
        )


def pool_limits(settings: Settings, memory: MemoryReading) -> PoolLimits:
    """Return the bounds of all environments together."""
    return PoolLimits(
        max_environments=settings.max_environments,
        memory_budget_mib=settings.memory_budget_mib or default_budget_mib(memory),
        memory_reserve_mib=default_reserve_mib(memory),
        idle_s=settings.idle_s,
        max_age_s=settings.max_age_s,
        drain_s=settings.drain_s,
    )


def credential_lifetime_s(settings: Settings) -> float:
    """Return how long a role's credentials are valid: longer than any environment that found them in its variables."""
    # The oldest becomes idle just before its time is up, and is then asked once more; a minute for late timers.
    return settings.max_age_s + settings.idle_s + TIMEOUT_LIMIT_S + 60.0

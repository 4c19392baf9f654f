"""The one road of every invocation: authorise, resolve, lease, take, run; its record follows by itself."""

from dataclasses import replace

from lambent.environment.environment import ExecutionEnvironment
from lambent.environment.environments import Environments, Pool
from lambent.invoke.access import Authoriser
from lambent.invoke.concurrency import Concurrency, Lease
from lambent.invoke.functions import FunctionView
from lambent.invoke.trace import new_trace_header
from lambent.model.clock import Clock
from lambent.model.errors import InvalidParameterValue, Throttled
from lambent.model.functions import FunctionVersion
from lambent.model.invocations import InvocationResult, InvokeCall


class Invoker:
    """Runs calls. Whoever calls ``invoke`` runs it in a task that outlives its own caller."""

    def __init__(
        self,
        access: Authoriser,
        functions: FunctionView,
        concurrency: Concurrency,
        environments: Environments,
        clock: Clock,
    ) -> None:
        self._access = access
        self._functions = functions
        self._concurrency = concurrency
        self._environments = environments
        self._clock = clock

    async def invoke(self, call: InvokeCall) -> InvocationResult:
        """Return the outcome of ``call``: a function's failure is a value in it.

        Raises AccessDenied, ResourceNotFound, ResourceConflict, Throttled with AWS's texts; HostError if this host
        failed. Returns when the runtime has answered; lease and environment are free when it asks for the next event.
        """
        self._access.authorise(call)
        version = self._functions.resolve(call.target)
        require_tenant(version, call)
        if call.is_dry_run:
            return InvocationResult(payload=b"", executed_version=version.version)
        if call.trace_header is None:
            call = replace(call, trace_header=new_trace_header(version, self._clock.now()))
        # What is provisioned was claimed ahead and needs no lease; beyond it calls spill over.
        taken = await self._environments.take_provisioned(version)
        if taken is not None:
            return await self._run_provisioned(call, *taken)
        with await self._lease(version, call) as lease:
            async with self._environments.take(version, call) as environment:
                lease.follow(environment)
                return await environment.run(call)

    async def _run_provisioned(
        self, call: InvokeCall, environment: ExecutionEnvironment, pool: Pool
    ) -> InvocationResult:
        try:
            return await environment.run(call)
        finally:
            self._environments.give_back(environment, pool)

    async def _lease(self, version: FunctionVersion, call: InvokeCall) -> Lease:
        try:
            return self._concurrency.lease(version, call)
        except Throttled:
            # One that has answered is over within moments; a caller who calls one after the other is not throttled.
            if not await self._environments.settled_soon(version, call):
                raise
            return self._concurrency.lease(version, call)


def require_tenant(version: FunctionVersion, call: InvokeCall) -> None:
    """Raise InvalidParameterValue unless a tenant is named exactly where the function isolates tenants."""
    # AWS news blog on tenant isolation: the first text; the second is assumed to read alike.
    if version.tenant_isolation and call.tenant_id is None:
        raise InvalidParameterValue(
            "The invoked function is enabled with tenancy configuration. Add a valid tenant ID in your request "
            "and try again."
        )
    if call.tenant_id is not None and not version.tenant_isolation:
        raise InvalidParameterValue(
            "The invoked function is not enabled with tenancy configuration. Remove the tenant ID from your request "
            "and try again."
        )

"""A function version as the data plane knows it, and the settings it carries."""

from dataclasses import dataclass, field
from typing import Final

from lambent.model.ids import Digest, FunctionArn, Scope

LATEST: Final = "$LATEST"
MIB: Final = 1024 * 1024
ON_DEMAND: Final = "on-demand"  # values of AWS_LAMBDA_INITIALIZATION_TYPE
PROVISIONED: Final = "provisioned-concurrency"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """``LoggingConfig``: where and how a version's log events are written."""

    group: str  # /aws/lambda/<name> unless configured
    is_json: bool = False
    application_level: str | None = None  # TRACE … FATAL; only with JSON
    system_level: str | None = None  # DEBUG, INFO, WARN; only with JSON
    is_custom_group: bool = (
        False  # the stream's name then begins with the function's (facts: monitoring-cloudwatchlogs-loggroups)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionVersion:
    """An immutable snapshot of code and settings. ``$LATEST`` is one that gets replaced, never edited.

    ``environment`` is in clear text: this value lives in memory only and is never logged or stored.
    ``generation`` grows with every change of ``$LATEST`` and names the snapshot: two values with equal
    ``arn`` and ``generation`` are the same version.
    """

    scope: Scope
    name: str
    version: str  # "$LATEST" or a number
    generation: int
    runtime: str  # identifier of the catalogue, e.g. python3.13
    handler: str
    role: str
    memory_mib: int
    timeout_s: int
    tmp_mib: int
    code: Digest  # of the ZIP; the unpacked tree is found by it
    code_bytes: int
    architecture: str = "x86_64"
    environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    log: LogSettings
    tracing_mode: str = "PassThrough"
    layers: tuple[Digest, ...] = ()
    egress: str = "none"  # which networks it reaches
    reserved_concurrency: int | None = None
    tenant_isolation: bool = False
    initialization_type: str = ON_DEMAND
    arn: FunctionArn = field(init=False, repr=False, compare=False)
    """The ARN with version."""

    def __post_init__(self) -> None:
        # Every invocation asks for it.
        object.__setattr__(self, "arn", FunctionArn(f"{self.unqualified_arn}:{self.version}"))

    @property
    def unqualified_arn(self) -> FunctionArn:
        """The ARN without version."""
        return FunctionArn(self.scope.arn("lambda", f"function:{self.name}"))

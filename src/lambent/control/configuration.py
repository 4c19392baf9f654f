"""Members of CreateFunction and UpdateFunctionConfiguration → fields of a spec, under AWS's rules.

The service model's constraints were checked before by ``wire``; here stand the rules that it does not know.
"""

from collections.abc import Mapping
from typing import Any, Final

from lambent.control.destinations import Reachable, parse_dead_letter_target
from lambent.control.quotas import MEMORY_LIMIT_MIB, SNAPSTART_RUNTIMES, TIMEOUT_LIMIT_S
from lambent.control.seams import RuntimeRules
from lambent.model.clock import Clock
from lambent.model.documents import FunctionSpec
from lambent.model.errors import InvalidParameterValue, ValidationError
from lambent.model.functions import LogSettings
from lambent.model.requests import Members

SpecFields = dict[str, Any]  # arguments of dataclasses.replace on a FunctionSpec

_PLAIN: Final[Mapping[str, str]] = {
    "Description": "description",
    "Handler": "handler",
    "MemorySize": "memory_mib",
    "Role": "role",
    "Runtime": "runtime",
    "Timeout": "timeout_s",
}
# Seen from AWS by SDK users (2023).
_LEVEL_WITH_TEXT: Final = (
    'LogLevel is not supported when LogFormat is set to "Text". '
    'Remove LogLevel from your request or change the LogFormat to "JSON" and try again.'
)


class ConfigurationRules:
    """Parses configuration members for this host: its architecture, its catalogue of runtimes, its clock."""

    def __init__(self, runtimes: RuntimeRules, clock: Clock, architecture: str, reachable: Reachable) -> None:
        self._reachable = reachable
        self._runtimes = runtimes
        self._clock = clock
        self._architecture = architecture

    def parse_creation(self, members: Members, name: str) -> SpecFields:
        """Return the fields of a new function; a field left out has its default in ``FunctionSpec``."""
        runtime, handler = members.get("Runtime"), members.get("Handler")
        if not runtime or not handler:
            raise InvalidParameterValue(
                "Runtime and Handler are mandatory parameters for functions created with deployment packages."
            )
        self._runtimes.require_creatable(runtime, self._clock.now())
        fields = self._parse_fields(members, LogSettings(group=default_log_group(name)), name)
        _require_snapstart(runtime, fields)
        return {**fields, "architectures": self.parse_architectures(members)}

    def parse_update(self, members: Members, spec: FunctionSpec) -> SpecFields:
        """Return the fields that an update changes in ``spec``."""
        runtime = members.get("Runtime") or spec.runtime
        self.require_updatable(runtime)
        fields = self._parse_fields(members, spec.log, spec.name)
        _require_snapstart(runtime, {"snapstart_apply_on": spec.snapstart_apply_on, **fields})
        return fields

    def _parse_fields(self, members: Members, log: LogSettings, name: str) -> SpecFields:
        fields = _parse_fields(members, log, name)
        if (dead_letters := members.get("DeadLetterConfig")) is not None:
            fields["dead_letter_target"] = parse_dead_letter_target(dead_letters, self._reachable)
        return fields

    def require_updatable(self, runtime: str | None) -> None:
        """Raise AWS's error for a function whose runtime may no longer be updated."""
        if runtime is not None:
            self._runtimes.require_updatable(runtime, self._clock.now())

    def parse_architectures(self, members: Members) -> tuple[str, ...]:
        """Return what the function runs on: what this host is. Another architecture is refused."""
        wanted = tuple(members.get("Architectures") or (self._architecture,))
        if wanted != (self._architecture,):
            raise InvalidParameterValue("Architectures is not supported yet")
        return wanted


def require_known_groups(members: Members) -> None:
    """Raise AWS's error for security groups that do not exist: there are none until VPCs are built."""
    groups = (members.get("VpcConfig") or {}).get("SecurityGroupIds") or []
    for group in groups:
        # Recorded from AWS (2025-11): CreateFunction with a group that is not there.
        raise InvalidParameterValue(
            "Error occurred while DescribeSecurityGroups. EC2 Error Code: InvalidGroup.NotFound. "
            f"EC2 Error Message: The security group '{group}' does not exist"
        )


def default_log_group(name: str) -> str:
    """Return where a function's log goes unless LoggingConfig says otherwise."""
    return f"/aws/lambda/{name}"


def parse_logging(config: Members, current: LogSettings, name: str) -> LogSettings:
    """Return the settings after LoggingConfig; what it leaves out stays as it is.

    Recorded from AWS (2025-11): changing to JSON without levels sets both to INFO.
    """
    is_json = config["LogFormat"] == "JSON" if config.get("LogFormat") else current.is_json
    application, system = config.get("ApplicationLogLevel"), config.get("SystemLogLevel")
    if not is_json and (application or system):
        raise InvalidParameterValue(_LEVEL_WITH_TEXT)
    group = config.get("LogGroup") or current.group
    return LogSettings(
        group=group,
        is_json=is_json,
        application_level=(application or current.application_level or "INFO") if is_json else None,
        system_level=(system or current.system_level or "INFO") if is_json else None,
        is_custom_group=group != default_log_group(name),
    )


def _parse_fields(members: Members, log: LogSettings, name: str) -> SpecFields:
    fields = {ours: members[theirs] for theirs, ours in _PLAIN.items() if members.get(theirs) is not None}
    if "\0" in fields.get("handler", ""):
        # It becomes an environment variable, which cannot hold it; refused like a space (assumed).
        raise ValidationError(
            f"1 validation error detected: Value '{fields['handler']}' at 'handler' failed to satisfy constraint: "
            r"Member must satisfy regular expression pattern: [^\s]+"
        )
    _require_at_most("timeout", fields.get("timeout_s"), TIMEOUT_LIMIT_S)
    _require_at_most("memorySize", fields.get("memory_mib"), MEMORY_LIMIT_MIB)
    if storage := members.get("EphemeralStorage"):
        fields["tmp_mib"] = storage["Size"]
    if snapstart := members.get("SnapStart"):
        fields["snapstart_apply_on"] = snapstart.get("ApplyOn") or "None"
    fields["log"] = parse_logging(members.get("LoggingConfig") or {}, log, name)
    return fields


def _require_at_most(member: str, value: int | None, limit: int) -> None:
    """The service model's bounds are those of managed instances; ordinary functions have the documented ones."""
    if value is not None and value > limit:
        raise ValidationError(
            f"1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: "
            f"Member must have value less than or equal to {limit}"
        )


def _require_snapstart(runtime: str | None, fields: SpecFields) -> None:
    wanted = fields.get("snapstart_apply_on", "None") != "None"
    if wanted and runtime is not None and not SNAPSTART_RUNTIMES.fullmatch(runtime):
        raise InvalidParameterValue(f"{runtime} is not supported for SnapStart enabled functions.")

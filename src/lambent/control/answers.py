"""A function's record → the members that AWS answers."""

from datetime import datetime
from typing import Final

from lambent.control.records import FunctionRecord
from lambent.control.seams import LocationSigner, RuntimeRules
from lambent.control.variables import VariableVault
from lambent.model.documents import FunctionSpec, FunctionStatus
from lambent.model.errors import HostError
from lambent.model.functions import LogSettings
from lambent.model.requests import Members, RequestContext

_UNREADABLE: Final = (
    "Lambda was unable to decrypt the environment variables: the key of this host is not the one that sealed them."
)


class Answers:
    """Renders FunctionConfiguration and GetFunction's answer."""

    def __init__(self, vault: VariableVault, runtimes: RuntimeRules, sign_location: LocationSigner) -> None:
        self._vault = vault
        self._runtimes = runtimes
        self._sign_location = sign_location

    def configuration(self, record: FunctionRecord, *, qualifier: str | None = None) -> Members:
        """Return FunctionConfiguration, its ARN with ``qualifier``. Absent are the members that AWS leaves out."""
        status = record.status
        return _without_none(
            {
                **self.entry(record, qualifier=qualifier),
                "RuntimeVersionConfig": self._runtime_version(record.spec, status),
                "State": str(status.state),
                "StateReason": status.state_reason,
                "StateReasonCode": status.state_reason_code,
                "LastUpdateStatus": status.last_update_status and str(status.last_update_status),
                "LastUpdateStatusReason": status.last_update_status_reason,
                "LastUpdateStatusReasonCode": status.last_update_status_reason_code,
            }
        )

    def entry(self, record: FunctionRecord, *, qualifier: str | None = None) -> Members:
        """Return an entry of ListFunctions: the configuration without state, last update and runtime version."""
        spec = record.spec
        return _without_none(
            {
                "FunctionName": spec.name,
                "FunctionArn": f"{spec.arn}:{qualifier}" if qualifier else spec.arn,
                "Runtime": spec.runtime,
                "Role": spec.role,
                "Handler": spec.handler,
                "CodeSize": spec.code.zip_bytes,
                "CodeSha256": spec.code.sha256_base64,
                "Description": spec.description,
                "Timeout": spec.timeout_s,
                "MemorySize": spec.memory_mib,
                "EphemeralStorage": {"Size": spec.tmp_mib},
                "LastModified": render_last_modified(spec.last_modified_at),
                "Version": spec.version,
                "Environment": self._environment(spec),
                "DeadLetterConfig": {"TargetArn": spec.dead_letter_target} if spec.dead_letter_target else None,
                "TracingConfig": {"Mode": spec.tracing_mode},
                "RevisionId": record.status.revision_id,
                "PackageType": spec.package_type,
                "Architectures": list(spec.architectures),
                # Recorded from AWS: $LATEST is never optimised itself; versions that would be are not published here.
                "SnapStart": {"ApplyOn": spec.snapstart_apply_on, "OptimizationStatus": "Off"},
                "LoggingConfig": render_logging(spec.log),
            }
        )

    def function(self, ctx: RequestContext, record: FunctionRecord, *, qualifier: str | None) -> Members:
        """Return GetFunction's answer, with a location for the code that is good for ten minutes."""
        spec = record.spec
        location = self._sign_location(spec.scope, spec.name, spec.code.digest, ctx.endpoint)
        answer: Members = {
            "Configuration": self.configuration(record, qualifier=qualifier),
            "Code": {"RepositoryType": "S3", "Location": location},
        }
        # Recorded from AWS: without tags there is no member Tags.
        return {**answer, "Tags": dict(spec.tags)} if spec.tags else answer

    def _environment(self, spec: FunctionSpec) -> Members | None:
        try:
            variables = self._vault.open(spec)
        except HostError:
            # API reference, EnvironmentResponse: variables that cannot be decrypted leave an Error in their place.
            return {"Error": {"ErrorCode": "AccessDeniedException", "Message": _UNREADABLE}}
        return None if variables is None else {"Variables": variables}

    def _runtime_version(self, spec: FunctionSpec, status: FunctionStatus) -> Members | None:
        if spec.runtime is None:
            return None
        # Recorded from AWS: the answer to an update already shows the version of the new runtime.
        is_settled = status.live_generation == spec.generation
        known = status.runtime_version_arn if is_settled else None
        return {"RuntimeVersionArn": known or self._runtimes.version_arn(spec.runtime, spec.scope.region)}


def render_last_modified(at: datetime) -> str:
    """Return AWS's form, 2026-11-23T12:00:00.000+0000."""
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}+0000"


def render_logging(log: LogSettings) -> Members:
    """Return LoggingConfig."""
    return _without_none(
        {
            "LogFormat": "JSON" if log.is_json else "Text",
            "ApplicationLogLevel": log.application_level,
            "SystemLogLevel": log.system_level,
            "LogGroup": log.group,
        }
    )


def _without_none(members: Members) -> Members:
    return {name: value for name, value in members.items() if value is not None}

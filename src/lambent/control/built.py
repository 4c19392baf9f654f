"""Which members of which operations act here; any other value than AWS's default is refused in words."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from lambent.model.errors import InvalidParameterValue
from lambent.model.requests import Members

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_MAPS: Final = frozenset({"Tags"})  # whose keys are the caller's, not the service model's


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What an operation takes. ``at_default``: member → the value that AWS assumes, None where that is its absence.

    A dotted name speaks of a member inside a structure that is built.
    """

    built: tuple[str, ...] = ()
    at_default: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    notes: Mapping[str, str] = field(default_factory=lambda: _NOTHING)


def find_coverage(operation: str) -> Coverage:
    """Return what is built of one of ``covered_operations``."""
    return _COVERAGE[operation]


def covered_operations() -> tuple[str, ...]:
    """Return the operations that this package answers."""
    return tuple(_COVERAGE)


def require_built(operation: str, members: Members) -> None:
    """Raise InvalidParameterValue for the first member that is not built and is not at AWS's default."""
    coverage = _COVERAGE[operation]
    for name, value in members.items():
        _require_member(coverage, name, value)
        if name in coverage.built and name not in _MAPS and isinstance(value, dict):
            for inner, inner_value in value.items():
                _require_member(coverage, f"{name}.{inner}", inner_value)


def _require_member(coverage: Coverage, path: str, value: object) -> None:
    if path in coverage.built:
        return
    if (said := _without_emptiness(value)) is None:
        return
    if path not in coverage.at_default or said != coverage.at_default[path]:
        raise InvalidParameterValue(f"{path} is not supported yet")


def _without_emptiness(value: object) -> object:
    """Return ``value`` without its empty parts; None if nothing is left: that is as good as not said."""
    if isinstance(value, dict):
        return {name: kept for name, inner in value.items() if (kept := _without_emptiness(inner)) is not None} or None
    return value if value not in (None, False, "", [], ()) else None


_NOTES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Architectures": "the architecture of the host only",
        "Role": "its form is checked; existence and trust policy are not yet",
        "SnapStart": "kept and shown; where it is on, versions are refused",
    }
)
_CONFIGURATION: Final = (
    "DeadLetterConfig",
    "DeadLetterConfig.TargetArn",
    "Description",
    "Environment",
    "Environment.Variables",
    "EphemeralStorage",
    "EphemeralStorage.Size",
    "Handler",
    "LoggingConfig",
    "LoggingConfig.ApplicationLogLevel",
    "LoggingConfig.LogFormat",
    "LoggingConfig.LogGroup",
    "LoggingConfig.SystemLogLevel",
    "MemorySize",
    "Role",
    "Runtime",
    "SnapStart",
    "SnapStart.ApplyOn",
    "Timeout",
)
_CONFIGURATION_AT_DEFAULT: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "AcceleratorConfig": None,
        "CapacityProviderConfig": None,
        "DurableConfig": None,
        "FileSystemConfigs": None,
        "ImageConfig": None,
        "KMSKeyArn": None,
        "Layers": None,
        "RuntimeConfig": None,
        "TracingConfig": {"Mode": "PassThrough"},
        "VpcConfig": None,
    }
)
_ALIAS: Final = (
    "FunctionName",
    "Name",
    "Description",
    "FunctionVersion",
    "RoutingConfig",
    "RoutingConfig.AdditionalVersionWeights",
)
_READ: Final = Coverage(built=("FunctionName", "Qualifier"))
_LAYER_LIST: Final = ("CompatibleArchitecture", "CompatibleRuntime", "Marker", "MaxItems")
_EVENT_CONFIG: Final = Coverage(
    built=(
        "FunctionName",
        "Qualifier",
        "DestinationConfig",
        "DestinationConfig.OnFailure",
        "DestinationConfig.OnSuccess",
        "MaximumEventAgeInSeconds",
        "MaximumRetryAttempts",
    )
)

_COVERAGE: Final[Mapping[str, Coverage]] = MappingProxyType(
    {
        "CreateFunction": Coverage(
            built=(
                "FunctionName",
                "Architectures",
                "Code",
                "Code.S3Bucket",
                "Code.S3Key",
                "Code.S3ObjectVersion",
                "Code.ZipFile",
                *_CONFIGURATION,
                "Publish",
                "Tags",
            ),
            at_default={
                "Code.ImageUri": None,
                "Code.S3ObjectStorageMode": "COPY",
                "Code.SourceKMSKeyArn": None,
                "CodeSigningConfigArn": None,
                "PackageType": "Zip",
                "PublishTo": None,
                "TenancyConfig": None,
                **_CONFIGURATION_AT_DEFAULT,
            },
            notes=_NOTES,
        ),
        "GetFunction": _READ,
        "GetFunctionConfiguration": _READ,
        "UpdateFunctionCode": Coverage(
            built=(
                "FunctionName",
                "Architectures",
                "DryRun",
                "ImageUri",
                "Publish",
                "RevisionId",
                "S3Bucket",
                "S3Key",
                "S3ObjectVersion",
                "ZipFile",
            ),
            at_default={
                "PublishTo": None,
                "S3ObjectStorageMode": "COPY",
                "SourceKMSKeyArn": None,
            },
            notes={**_NOTES, "ImageUri": "refused as AWS does for a function of package type Zip"},
        ),
        "UpdateFunctionConfiguration": Coverage(
            built=("FunctionName", *_CONFIGURATION, "RevisionId"), at_default=_CONFIGURATION_AT_DEFAULT, notes=_NOTES
        ),
        "DeleteFunction": _READ,
        "ListFunctions": Coverage(built=("FunctionVersion", "Marker", "MaxItems"), at_default={"MasterRegion": None}),
        "PublishVersion": Coverage(
            built=("FunctionName", "CodeSha256", "Description", "RevisionId"), at_default={"PublishTo": None}
        ),
        "ListVersionsByFunction": Coverage(built=("FunctionName", "Marker", "MaxItems")),
        "CreateAlias": Coverage(built=_ALIAS),
        "GetAlias": Coverage(built=("FunctionName", "Name")),
        "UpdateAlias": Coverage(built=(*_ALIAS, "RevisionId")),
        "DeleteAlias": Coverage(built=("FunctionName", "Name")),
        "ListAliases": Coverage(built=("FunctionName", "FunctionVersion", "Marker", "MaxItems")),
        "PutFunctionConcurrency": Coverage(built=("FunctionName", "ReservedConcurrentExecutions")),
        "GetFunctionConcurrency": Coverage(built=("FunctionName",)),
        "DeleteFunctionConcurrency": Coverage(built=("FunctionName",)),
        "PutProvisionedConcurrencyConfig": Coverage(
            built=("FunctionName", "Qualifier", "ProvisionedConcurrentExecutions")
        ),
        "GetProvisionedConcurrencyConfig": _READ,
        "DeleteProvisionedConcurrencyConfig": _READ,
        "ListProvisionedConcurrencyConfigs": Coverage(built=("FunctionName", "Marker", "MaxItems")),
        "AddPermission": Coverage(
            built=(
                "FunctionName",
                "StatementId",
                "Action",
                "Principal",
                "SourceArn",
                "SourceAccount",
                "EventSourceToken",
                "Qualifier",
                "RevisionId",
                "PrincipalOrgID",
                "FunctionUrlAuthType",
                "InvokedViaFunctionUrl",
            )
        ),
        "RemovePermission": Coverage(built=("FunctionName", "StatementId", "Qualifier", "RevisionId")),
        "GetPolicy": _READ,
        "GetAccountSettings": Coverage(),
        "PutFunctionEventInvokeConfig": _EVENT_CONFIG,
        "UpdateFunctionEventInvokeConfig": _EVENT_CONFIG,
        "GetFunctionEventInvokeConfig": _READ,
        "DeleteFunctionEventInvokeConfig": _READ,
        "ListFunctionEventInvokeConfigs": Coverage(built=("FunctionName", "Marker", "MaxItems")),
        "PublishLayerVersion": Coverage(
            built=(
                "LayerName",
                "CompatibleArchitectures",
                "CompatibleRuntimes",
                "Content",
                "Content.S3Bucket",
                "Content.S3Key",
                "Content.S3ObjectVersion",
                "Content.ZipFile",
                "Description",
                "LicenseInfo",
            ),
            at_default={"Content.S3ObjectStorageMode": "COPY"},
        ),
        "GetLayerVersion": Coverage(built=("LayerName", "VersionNumber")),
        "GetLayerVersionByArn": Coverage(built=("Arn",)),
        "DeleteLayerVersion": Coverage(built=("LayerName", "VersionNumber")),
        "ListLayerVersions": Coverage(built=("LayerName", *_LAYER_LIST)),
        "ListLayers": Coverage(built=_LAYER_LIST),
        "TagResource": Coverage(built=("Resource", "Tags")),
        "UntagResource": Coverage(built=("Resource", "TagKeys")),
        "ListTags": Coverage(built=("Resource",)),
    }
)

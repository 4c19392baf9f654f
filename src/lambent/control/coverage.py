"""Which members of which operations act here; any other value than AWS's default is refused in words.

``python -m lambent.control.coverage`` prints the table that docs/coverage.md holds.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from lambent.model.errors import InvalidParameterValue
from lambent.model.requests import Members

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What an operation takes. ``at_default``: member → the value that AWS assumes, None where that is its absence.

    A dotted name speaks of a member inside a structure that is built.
    """

    built: tuple[str, ...] = ()
    at_default: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    notes: Mapping[str, str] = field(default_factory=lambda: _NOTHING)


def find_coverage(operation: str) -> Coverage | None:
    """Return what is built of ``operation``; None for an operation of somebody else."""
    return _COVERAGE.get(operation)


def covered_operations() -> tuple[str, ...]:
    """Return the operations that this package answers."""
    return tuple(_COVERAGE)


def require_built(operation: str, members: Members) -> None:
    """Raise InvalidParameterValue for the first member that is not built and is not at AWS's default."""
    coverage = _COVERAGE[operation]
    for name, value in members.items():
        _require_member(coverage, name, value)
        nested = name in coverage.built and any(path.startswith(f"{name}.") for path in _paths(coverage))
        if nested and isinstance(value, dict):
            for inner, inner_value in value.items():
                _require_member(coverage, f"{name}.{inner}", inner_value)


def render_coverage() -> str:
    """Return docs/coverage.md."""
    lines = [
        "# What the functions API takes",
        "",
        "Written by `python -m lambent.control.coverage`; a test compares. A member under *at AWS's default only* is",
        "accepted as AWS assumes it when left out; any other value gets `<member> is not supported yet`.",
    ]
    for operation, coverage in _COVERAGE.items():
        lines += ["", f"## {operation}", "", "| member | |", "| --- | --- |"]
        for name in coverage.built:
            note = coverage.notes.get(name)
            lines.append(f"| {name} | built{f': {note}' if note else ''} |")
        for name, default in coverage.at_default.items():
            lines.append(f"| {name} | at AWS's default only: {_render_default(default)} |")
    return "\n".join(lines) + "\n"


def _paths(coverage: Coverage) -> tuple[str, ...]:
    return (*coverage.built, *coverage.at_default)


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


def _render_default(default: object) -> str:
    if default is None or default is False:
        return "absent, empty or false"
    return f"`{default}`" if isinstance(default, str) else f"`{dict(default)}`"  # type: ignore[call-overload]


_NOTES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Architectures": "the architecture of the host only",
        "Role": "its form is checked; existence and trust policy are not yet",
        "SnapStart": "kept and shown; it acts on published versions, and those are not built",
    }
)
_CONFIGURATION: Final = (
    "Description",
    "Environment",
    "EphemeralStorage",
    "Handler",
    "LoggingConfig",
    "MemorySize",
    "Role",
    "Runtime",
    "SnapStart",
    "Timeout",
)
_CONFIGURATION_AT_DEFAULT: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "AcceleratorConfig": None,
        "CapacityProviderConfig": None,
        "DeadLetterConfig": None,
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
_READ: Final = Coverage(built=("FunctionName", "Qualifier"))

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
                "Tags",
            ),
            at_default={
                "Code.ImageUri": None,
                "Code.S3ObjectStorageMode": "COPY",
                "Code.SourceKMSKeyArn": None,
                "CodeSigningConfigArn": None,
                "PackageType": "Zip",
                "Publish": None,
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
                "RevisionId",
                "S3Bucket",
                "S3Key",
                "S3ObjectVersion",
                "ZipFile",
            ),
            at_default={
                "Publish": None,
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
        "GetAccountSettings": Coverage(),
        "TagResource": Coverage(built=("Resource", "Tags")),
        "UntagResource": Coverage(built=("Resource", "TagKeys")),
        "ListTags": Coverage(built=("Resource",)),
    }
)


if __name__ == "__main__":
    sys.stdout.write(render_coverage())

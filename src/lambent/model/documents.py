"""Stored documents of functions: keys, values, schema, and how a spec and its status are read together.

``spec/…`` is written by control alone, ``status/…`` by the reconciler alone; answers and the data plane join both.
A version is a snapshot of ``$LATEST`` under a key of its own, never written again. A document of a newer schema is
refused; fields this release does not know survive a rewrite.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypeVar

import msgspec

from lambent.model.errors import HostError
from lambent.model.functions import LATEST, FunctionVersion, LogSettings
from lambent.model.ids import Digest, RevisionId, Scope

SCHEMA: Final = 1
FUNCTION_SPECS: Final = "spec/function/"  # prefixes, for lists and watches
FUNCTION_STATUSES: Final = "status/function/"
VERSION_SPECS: Final = "spec/version/"
VERSION_STATUSES: Final = "status/version/"
ALIAS_SPECS: Final = "spec/alias/"
NUMBER_DIGITS: Final = 10  # of a version in keys, so that lists come in the order of numbers

Document = dict[str, Any]  # a document's value, as the store keeps it


class State(StrEnum):
    """``State`` of a function (service model, State); those of managed instances come with them."""

    PENDING = "Pending"
    ACTIVE = "Active"
    INACTIVE = "Inactive"
    FAILED = "Failed"


class UpdateStatus(StrEnum):
    """``LastUpdateStatus`` of a function (service model, LastUpdateStatus)."""

    SUCCESSFUL = "Successful"
    FAILED = "Failed"
    IN_PROGRESS = "InProgress"


# Recorded from AWS: both creation and updates say so ("created", also for updates).
CREATING_REASON: Final = "The function is being created."
CREATING_CODE: Final = "Creating"


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Origin:
    """Where a package was fetched from; told in answers only."""

    bucket: str
    key: str
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeSpec:
    """A deployment package: its ZIP is the blob ``digest``."""

    digest: Digest
    sha256_base64: str
    zip_bytes: int
    unzipped_bytes: int
    s3: S3Origin | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VpcSpec:
    """``VpcConfig``; empty lists after it was taken away, which AWS shows differently from never set."""

    subnet_ids: tuple[str, ...] = ()
    security_group_ids: tuple[str, ...] = ()
    vpc_id: str = ""
    ipv6_allowed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSystemSpec:
    """One of ``FileSystemConfigs``."""

    arn: str
    local_mount_path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What makes a snapshot a version. ``latest_description`` is what ``$LATEST`` had when it was published.

    ``was_live``: that ``$LATEST`` was ready then, so the version is from its first moment and needs no status.
    """

    number: int
    latest_description: str = ""
    was_live: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSpec:
    """What the owner wants ``$LATEST`` of a function to be; with a ``publication``, one version of it, for ever.

    ``generation`` names this snapshot and grows with every change; ``first_generation`` names the function itself:
    delete and re-create give another one. Compare generations for equality: a clock set back may re-create lower.
    A version has the generation of the ``$LATEST`` that it was.
    """

    scope: Scope
    name: str
    generation: int
    first_generation: int
    revision_id: RevisionId  # until a status of this generation has a newer one
    last_modified_at: datetime
    role: str
    handler: str | None = None
    runtime: str | None = None
    description: str = ""
    timeout_s: int = 3
    memory_mib: int = 128
    tmp_mib: int = 512
    package_type: str = "Zip"
    architectures: tuple[str, ...] = ("x86_64",)
    layers: tuple[str, ...] = ()  # ARNs of layer versions
    tracing_mode: str = "PassThrough"
    log: LogSettings
    vpc: VpcSpec | None = None
    dead_letter_target: str | None = None
    file_systems: tuple[FileSystemSpec, ...] = ()
    snapstart_apply_on: str = "None"
    kms_key: str | None = None
    sealed_environment: str | None = field(default=None, repr=False)  # base64; None: never set, no Environment member
    code: CodeSpec
    tags: tuple[tuple[str, str], ...] = ()
    publication: Publication | None = None
    last_version: int = 0  # of $LATEST: the highest number that was ever published; numbers are never used again
    touched_revision_id: RevisionId | None = None  # of $LATEST: since something beside the snapshot changed
    unknown: str = field(default="", repr=False)  # JSON of fields of a later release

    @property
    def key(self) -> str:
        """The key of the document that holds this value."""
        if self.publication is None:
            return function_spec_key(self.scope, self.name)
        return version_spec_key(self.scope, self.name, self.publication.number)

    @property
    def status_key(self) -> str:
        """The key of the status of this value."""
        return status_key(self.key)

    @property
    def version(self) -> str:
        """``$LATEST``, or the version's number."""
        return LATEST if self.publication is None else str(self.publication.number)

    @property
    def arn(self) -> str:
        """The unqualified ARN."""
        return self.scope.arn("lambda", f"function:{self.name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionStatus:
    """What the data plane made of a spec: ``generation`` is the one it speaks about, ``live`` the one it serves.

    ``live`` is a whole spec, so that invocations go on with the last good one while an update runs, after it failed,
    and after a restart in between.
    """

    generation: int
    first_generation: int
    live: FunctionSpec | None = None
    state: State
    state_reason: str | None = None
    state_reason_code: str | None = None
    last_update_status: UpdateStatus | None = None
    last_update_status_reason: str | None = None
    last_update_status_reason_code: str | None = None
    revision_id: RevisionId
    runtime_version_arn: str | None = None
    unknown: str = field(default="", repr=False)

    @property
    def live_generation(self) -> int | None:
        """The generation that invocations run."""
        return self.live.generation if self.live else None


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasSpec:
    """A name for one version of a function, or for two with a share of the calls for the second.

    ``weights`` has at most one pair of version number and share. The alias belongs to the function that
    ``first_generation`` names.
    """

    scope: Scope
    function: str
    name: str
    first_generation: int
    version: str
    description: str = ""
    weights: tuple[tuple[str, float], ...] = ()
    revision_id: RevisionId
    unknown: str = field(default="", repr=False)

    @property
    def key(self) -> str:
        """The key of the document that holds this value."""
        return alias_key(self.scope, self.function, self.name)

    @property
    def arn(self) -> str:
        """The ARN of the alias."""
        return self.scope.arn("lambda", f"function:{self.function}:{self.name}")

    @property
    def versions(self) -> tuple[str, ...]:
        """Every version that calls may go to."""
        return (self.version, *(version for version, _ in self.weights))


def function_spec_key(scope: Scope, name: str) -> str:
    """Return the key of a function's spec."""
    return f"{FUNCTION_SPECS}{scope.account_id}/{scope.region}/{name}"


def function_status_key(scope: Scope, name: str) -> str:
    """Return the key of a function's status."""
    return f"{FUNCTION_STATUSES}{scope.account_id}/{scope.region}/{name}"


def function_specs_prefix(scope: Scope) -> str:
    """Return the prefix of the specs of one account in one region."""
    return f"{FUNCTION_SPECS}{scope.account_id}/{scope.region}/"


def version_specs_prefix(scope: Scope, name: str) -> str:
    """Return the prefix of the versions of a function, in the order of their numbers."""
    return f"{VERSION_SPECS}{scope.account_id}/{scope.region}/{name}/"


def version_spec_key(scope: Scope, name: str, number: int) -> str:
    """Return the key of one version."""
    return f"{version_specs_prefix(scope, name)}{number:0{NUMBER_DIGITS}d}"


def aliases_prefix(scope: Scope, function: str) -> str:
    """Return the prefix of the aliases of a function, in the order of their names."""
    return f"{ALIAS_SPECS}{scope.account_id}/{scope.region}/{function}/"


def alias_key(scope: Scope, function: str, name: str) -> str:
    """Return the key of one alias."""
    return f"{aliases_prefix(scope, function)}{name}"


def status_key(spec_key: str) -> str:
    """Return the key of the status that belongs to a spec."""
    return f"status/{spec_key.removeprefix('spec/')}"


def spec_key(key: str) -> str:
    """Return the key of the spec that a status, or a spec, belongs to."""
    return f"spec/{key.removeprefix('status/')}" if key.startswith("status/") else key


def parse_function_key(key: str) -> tuple[Scope, str, str]:
    """Return scope, function and qualifier that the key of a spec, status or alias speaks of."""
    match key.split("/"):
        case ["spec" | "status", "function", account_id, region, name]:
            return Scope(account_id, region), name, LATEST
        case ["spec" | "status", "version", account_id, region, name, number] if number.isdecimal():
            return Scope(account_id, region), name, str(int(number))
        case ["spec", "alias", account_id, region, name, alias]:
            return Scope(account_id, region), name, alias
        case _:
            raise HostError(f"not a function's document: {key}")


def parse_function_spec(value: object) -> FunctionSpec:
    """Return the spec that a document holds. HostError if its schema is newer than ours or it is damaged."""
    return parse_document(value, FunctionSpec)


def render_function_spec(spec: FunctionSpec) -> Document:
    """Return the document that holds ``spec``."""
    return render_document(spec)


def parse_function_status(value: object) -> FunctionStatus:
    """Return the status that a document holds. HostError if its schema is newer than ours or it is damaged."""
    if not isinstance(value, Mapping) or value.get("live") is None:
        return parse_document(value, FunctionStatus)
    status = parse_document({**value, "live": None}, FunctionStatus)
    return replace(status, live=parse_function_spec(value["live"]))


def render_function_status(status: FunctionStatus) -> Document:
    """Return the document that holds ``status``; its ``live`` is a document of its own."""
    document = render_document(replace(status, live=None))
    return {**document, "live": render_function_spec(status.live) if status.live else None}


def parse_alias(value: object) -> AliasSpec:
    """Return the alias that a document holds. HostError if its schema is newer than ours or it is damaged."""
    return parse_document(value, AliasSpec)


def render_alias(alias: AliasSpec) -> Document:
    """Return the document that holds ``alias``."""
    return render_document(alias)


def joined_status(spec: FunctionSpec, status: FunctionStatus | None) -> FunctionStatus:
    """Return what answers say of ``spec`` now, given the stored status, which may be absent, older, or of a namesake.

    Recorded from AWS: a new function is Pending/Creating without LastUpdateStatus; an update leaves State and shows
    InProgress/Creating; every step has a RevisionId of its own. A version published from a ready ``$LATEST`` is
    Active at once.
    """
    if status is None or status.first_generation != spec.first_generation:
        if is_born_live(spec):
            return FunctionStatus(
                generation=spec.generation,
                first_generation=spec.first_generation,
                live=spec,
                state=State.ACTIVE,
                last_update_status=UpdateStatus.SUCCESSFUL,
                revision_id=spec.revision_id,
            )
        return FunctionStatus(
            generation=spec.generation,
            first_generation=spec.first_generation,
            state=State.PENDING,
            state_reason=CREATING_REASON,
            state_reason_code=CREATING_CODE,
            revision_id=spec.revision_id,
        )
    if status.generation == spec.generation:
        touched = spec.touched_revision_id
        return replace(status, revision_id=touched) if touched is not None else status
    return replace(
        status,
        generation=spec.generation,
        last_update_status=UpdateStatus.IN_PROGRESS,
        last_update_status_reason=CREATING_REASON,
        last_update_status_reason_code=CREATING_CODE,
        revision_id=spec.revision_id,
    )


def live_spec(spec: FunctionSpec, status: FunctionStatus | None) -> FunctionSpec | None:
    """Return the spec that invocations of this function run now; None while there is none (Pending, Failed)."""
    if status is None or status.first_generation != spec.first_generation:
        return spec if is_born_live(spec) else None
    return status.live


def is_born_live(spec: FunctionSpec) -> bool:
    """Return whether ``spec`` is a version that runs without anything being made ready for it."""
    return spec.publication is not None and spec.publication.was_live


def function_version(
    spec: FunctionSpec, environment: tuple[tuple[str, str], ...], egress: str = "none"
) -> FunctionVersion:
    """Return the version that ``spec`` describes, with its environment in clear text."""
    return FunctionVersion(
        scope=spec.scope,
        name=spec.name,
        version=spec.version,
        generation=spec.generation,
        runtime=spec.runtime or "",
        handler=spec.handler or "",
        role=spec.role,
        memory_mib=spec.memory_mib,
        timeout_s=spec.timeout_s,
        tmp_mib=spec.tmp_mib,
        code=spec.code.digest,
        code_bytes=spec.code.zip_bytes,
        architecture=spec.architectures[0],
        environment=environment,
        log=spec.log,
        tracing_mode=spec.tracing_mode,
        egress=egress,
    )


_T = TypeVar("_T")


def parse_document(value: object, kind: type[_T]) -> _T:
    """Return what a document holds. HostError if its schema is newer than ours or it is damaged.

    ``kind`` is a frozen dataclass with a field ``unknown``, for what this release does not know.
    """
    if not isinstance(value, Mapping) or not isinstance(value.get("schema"), int):
        raise HostError(f"{kind.__name__}: the document has no schema number")
    if value["schema"] > SCHEMA:
        raise HostError(f"{kind.__name__}: schema {value['schema']} is newer than {SCHEMA}; upgrade Lambent to read it")
    stored = {name: inner for name, inner in value.items() if name not in ("schema", "unknown")}
    try:
        parsed: Any = msgspec.convert(stored, kind)
    except msgspec.ValidationError as error:
        raise HostError(f"{kind.__name__}: damaged document: {error}") from error
    unknown = _beyond(stored, _builtins(parsed))
    whole: _T = replace(parsed, unknown=json.dumps(unknown, sort_keys=True)) if unknown else parsed
    return whole


def render_document(value: Any) -> Document:
    """Return the document that holds ``value``, with the fields that a later release wrote."""
    document = _builtins(value)
    if value.unknown:
        _graft(document, json.loads(value.unknown))
    return {"schema": SCHEMA, **document}


def _builtins(value: object) -> Document:
    document: Document = msgspec.json.decode(msgspec.json.encode(value))  # lists, not tuples: what a store gives back
    document.pop("unknown")
    return document


def _beyond(stored: Mapping[str, Any], known: Mapping[str, Any]) -> Document:
    """Return what ``stored`` has and ``known`` has not, at any depth of objects."""
    rest: Document = {}
    for name, inner in stored.items():
        if name not in known:
            rest[name] = inner
        elif (
            isinstance(inner, Mapping) and isinstance(known[name], Mapping) and (deeper := _beyond(inner, known[name]))
        ):
            rest[name] = deeper
    return rest


def _graft(document: Document, unknown: Mapping[str, Any]) -> None:
    """Put ``unknown`` back, but never in place of a known field: an object that became another value stays it."""
    for name, inner in unknown.items():
        if name not in document:
            document[name] = inner
        elif isinstance(document[name], dict) and isinstance(inner, Mapping):
            _graft(document[name], inner)

"""PublishVersion and ListVersionsByFunction: immutable snapshots of ``$LATEST`` under numbers that only grow."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from lambent.control.answers import Answers
from lambent.control.quotas import LIST_PAGE_LIMIT
from lambent.control.records import FamilyChange, FunctionRecord, FunctionRecords, not_now, require_updatable
from lambent.control.targets import (
    new_revision_id,
    page_limit,
    parse_marker,
    parse_target,
    parse_unqualified,
    render_marker,
)
from lambent.control.variables import VariableVault
from lambent.model.documents import FunctionSpec, Publication, State, joined_status, render_function_spec
from lambent.model.errors import HostError, InvalidParameterValue
from lambent.model.names import function_not_found
from lambent.model.requests import Members, RequestContext
from lambent.store.contract import ANY, Put

# What two snapshots may differ in and yet be the same code and configuration.
_NOT_CONTENT: Final[dict[str, Any]] = {
    "generation": 0,
    "revision_id": "",
    "description": "",
    "publication": None,
    "last_version": 0,
    "touched_revision_id": None,
    "tags": (),
    "unknown": "",
    "last_modified_at": datetime.fromtimestamp(0, UTC),
    "sealed_environment": None,
}


class VersionCommands:
    """Publishes and lists versions. ``publish_into`` is for the commands that publish what they write."""

    def __init__(self, records: FunctionRecords, vault: VariableVault, answers: Answers) -> None:
        self._records = records
        self._vault = vault
        self._answers = answers

    async def publish(self, ctx: RequestContext, members: Members) -> Members:
        """PublishVersion: the last version again where code and configuration are still those that it has."""
        target = parse_unqualified(ctx, members, "PublishVersion")

        async def decide(current: FunctionRecord) -> tuple[FamilyChange, FunctionRecord]:
            require_publishable(current, members)
            return await self.publish_into(current, current.spec, members.get("Description"))

        version = await self._records.change_family(ctx.scope, target.name, function_not_found(target), decide)
        return self._answers.configuration(version, qualifier=version.spec.version)

    async def publish_into(
        self, before: FunctionRecord, spec: FunctionSpec, description: str | None = None
    ) -> tuple[FamilyChange, FunctionRecord]:
        """Return the change that writes ``spec`` in place of ``before`` and publishes it, and the version.

        Recorded from AWS (2025-11): where nothing changed, it is the version that was published last, as it was.
        """
        last = await self._records.find_version(spec, spec.last_version)
        if last is not None and self._is_same(last.spec, spec):
            return FamilyChange(spec), last
        was_live = before.spec.generation == spec.generation and before.status.live_generation == spec.generation
        version = new_version(spec, description, was_live=was_live)
        after = replace(spec, last_version=spec.last_version + 1)
        if before.spec.generation == spec.generation:
            # Recorded from AWS (2025-11): publishing changes the RevisionId of $LATEST too.
            after = replace(after, touched_revision_id=new_revision_id())
        return (
            FamilyChange(after, (Put(version.key, render_function_spec(version), expect=ANY),)),
            FunctionRecord(version, joined_status(version, None), 0),
        )

    async def list(self, ctx: RequestContext, members: Members) -> Members:
        """ListVersionsByFunction: ``$LATEST``, then the versions by number."""
        target = parse_target(ctx, members, "ListVersionsByFunction")
        missing = function_not_found(replace(target, qualifier=None))
        function = await self._records.get(ctx.scope, target.name, missing)
        limit = page_limit(members, LIST_PAGE_LIMIT)
        after = parse_list_place(members.get("Marker") or None)
        found = [] if after is not None else [function]
        if limit == len(found):
            following: int | None = 0 if function.spec.last_version else None
        else:
            versions, following = await self._records.list_versions(
                function.spec, after=after or 0, limit=limit - len(found)
            )
            found += versions
        answer: Members = {"Versions": [self._answers.entry(each, qualifier=each.spec.version) for each in found]}
        return answer if following is None else {**answer, "NextMarker": render_marker(str(following))}

    def _is_same(self, version: FunctionSpec, spec: FunctionSpec) -> bool:
        return (
            version.publication is not None
            and version.publication.latest_description == spec.description
            and _content(version) == _content(spec)
            and self._variables(version) == self._variables(spec)
        )

    def _variables(self, spec: FunctionSpec) -> dict[str, str] | str | None:
        if spec.sealed_environment is None:
            return None
        try:
            return self._vault.open(spec)
        except HostError:
            return spec.sealed_environment  # under a key that is gone: the same only if it is the same seal


def new_version(spec: FunctionSpec, description: str | None, *, was_live: bool) -> FunctionSpec:
    """Return the next version of the function whose ``$LATEST`` is ``spec``."""
    return replace(
        spec,
        publication=Publication(number=spec.last_version + 1, latest_description=spec.description, was_live=was_live),
        # API reference, PublishVersion, Description: "to override the description in the function configuration".
        description=spec.description if description is None else description,
        revision_id=new_revision_id(),
        last_version=0,
        touched_revision_id=None,
        tags=(),
    )


def require_publishable(record: FunctionRecord, members: Members) -> None:
    """Raise AWS's error for a ``$LATEST`` that is not ready, or is not the one that the caller means."""
    require_updatable(record, members.get("RevisionId"))
    if record.status.state is State.FAILED:
        raise not_now(record)
    sent, current = members.get("CodeSha256"), record.spec.code.sha256_base64
    if sent and sent != current:
        # Recorded from AWS (2025-11).
        raise InvalidParameterValue(
            f"CodeSHA256 ({sent}) is different from current CodeSHA256 in $LATEST ({current}). "
            "Please try again with the CodeSHA256 in $LATEST."
        )
    require_no_snapshots(record.spec)


def require_no_snapshots(spec: FunctionSpec) -> None:
    """Refuse to publish what would have to be snapshotted: a version that starts cold is not what was asked for."""
    if spec.snapstart_apply_on != "None":
        raise InvalidParameterValue(
            "SnapStart is not supported yet: set SnapStart.ApplyOn to None to publish a version"
        )


def parse_list_place(marker: str | None) -> int | None:
    """Return the number of the version after which a list goes on; None at its beginning."""
    place = parse_marker(marker)
    if not place:
        return None
    if not place.isdecimal():
        raise InvalidParameterValue("Invalid marker.")
    return int(place)


def _content(spec: FunctionSpec) -> FunctionSpec:
    return replace(spec, **_NOT_CONTENT, code=replace(spec.code, s3=None))

"""Layers: packages with numbers of their own, published, read, listed and deleted."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

from lambent.control.answers import render_last_modified
from lambent.control.built import require_built
from lambent.control.code import CodeSource
from lambent.control.quotas import LIST_PAGE_LIMIT
from lambent.control.seams import LocationSigner
from lambent.control.targets import page_limit, parse_marker, render_marker
from lambent.model.clock import Clock
from lambent.model.errors import AccessDenied, InvalidParameterValue, ResourceNotFound
from lambent.model.layers import (
    LayerName,
    LayerSpec,
    LayerVersionSpec,
    layer_key,
    layer_version_key,
    layer_versions_prefix,
    layers_prefix,
    parse_layer,
    parse_layer_name,
    parse_layer_version,
    render_layer,
)
from lambent.model.requests import Commands, Members, RequestContext
from lambent.store.contract import ABSENT, Conflict, Doc, Documents, Put

# Recorded from AWS, word for word.
_NOTHING: Final = "The resource you requested does not exist."
_BELOW_ONE: Final = "Layer Version Cannot be less than 1"


class LayerCommands:
    """PublishLayerVersion … ListLayers."""

    def __init__(self, documents: Documents, code: CodeSource, sign_location: LocationSigner, clock: Clock) -> None:
        self._documents, self._code = documents, code
        self._sign_location, self._clock = sign_location, clock

    def commands(self) -> Commands:
        """Return the commands by operation name."""
        return {
            "PublishLayerVersion": self.publish,
            "GetLayerVersion": self.get,
            "GetLayerVersionByArn": self.get_by_arn,
            "DeleteLayerVersion": self.delete,
            "ListLayerVersions": self.list_versions,
            "ListLayers": self.list_layers,
        }

    async def publish(self, ctx: RequestContext, members: Members) -> Members:
        """PublishLayerVersion: the package is durable before its number is given out."""
        require_built("PublishLayerVersion", members)
        name = _parse(ctx, members["LayerName"], "PublishLayerVersion").name
        code = await self._code.take(members["Content"], ctx.scope)
        version = LayerVersionSpec(
            scope=ctx.scope,
            name=name,
            version=0,
            code=code,
            created_at=self._clock.now(),
            description=members.get("Description") or "",
            license_info=members.get("LicenseInfo"),
            runtimes=_tuple(members.get("CompatibleRuntimes")),
            architectures=_tuple(members.get("CompatibleArchitectures")),
        )
        return self._answer(ctx, await self._number(version))

    async def _number(self, version: LayerVersionSpec) -> LayerVersionSpec:
        """Write ``version`` under the next number of its layer."""
        while True:
            doc = await self._documents.find(layer_key(version.scope, version.name))
            last = 0 if doc is None else parse_layer(doc.value).last_version
            numbered = replace(version, version=last + 1)
            layer = (
                LayerSpec(scope=version.scope, name=version.name, last_version=last + 1)
                if doc is None
                else replace(parse_layer(doc.value), last_version=last + 1)
            )
            own = Put(layer.key, render_layer(layer), expect=ABSENT if doc is None else doc.rev)
            try:
                await self._documents.transact(own, Put(numbered.key, render_layer(numbered), expect=ABSENT))
            except Conflict:
                continue
            return numbered

    async def get(self, ctx: RequestContext, members: Members) -> Members:
        """GetLayerVersion."""
        require_built("GetLayerVersion", members)
        layer = _parse(ctx, members["LayerName"], "GetLayerVersion", members["VersionNumber"])
        return await self._get(ctx, layer.name, members["VersionNumber"])

    async def get_by_arn(self, ctx: RequestContext, members: Members) -> Members:
        """GetLayerVersionByArn."""
        require_built("GetLayerVersionByArn", members)
        layer = _parse(ctx, members["Arn"], "GetLayerVersion")
        return await self._get(ctx, layer.name, layer.version or 0)

    async def _get(self, ctx: RequestContext, name: str, version: int) -> Members:
        _require_number(version)
        doc = await self._documents.find(layer_version_key(ctx.scope, name, version))
        if doc is None:
            raise ResourceNotFound(_NOTHING)
        return self._answer(ctx, parse_layer_version(doc.value))

    async def delete(self, ctx: RequestContext, members: Members) -> Members:
        """DeleteLayerVersion. Recorded from AWS: one that is not there is no error."""
        require_built("DeleteLayerVersion", members)
        layer = _parse(ctx, members["LayerName"], "DeleteLayerVersion", members["VersionNumber"])
        _require_number(members["VersionNumber"])
        await self._documents.delete(layer_version_key(ctx.scope, layer.name, members["VersionNumber"]))
        return {}

    async def list_versions(self, ctx: RequestContext, members: Members) -> Members:
        """ListLayerVersions, newest first. Assumed: of a layer that is not there, an empty list."""
        require_built("ListLayerVersions", members)
        name = _parse(ctx, members["LayerName"], "ListLayerVersions").name
        limit, place = page_limit(members, LIST_PAGE_LIMIT), parse_marker(members.get("Marker") or None)
        below = int(place.rpartition(":")[2]) if ":" in place else None
        found = [
            version
            for version in await self._versions(ctx, name)
            if (below is None or version.version < below) and _matches(version, members)
        ]
        answer: Members = {"LayerVersions": [_entry(version) for version in found[:limit]]}
        if len(found) <= limit:
            return answer
        return {**answer, "NextMarker": render_marker(f"{name}:{found[limit - 1].version}")}

    async def list_layers(self, ctx: RequestContext, members: Members) -> Members:
        """ListLayers by name, each with its newest version that the filters let through, if there is one."""
        require_built("ListLayers", members)
        limit, place = page_limit(members, LIST_PAGE_LIMIT), parse_marker(members.get("Marker") or None)
        entries: list[Members] = []
        after = layer_key(ctx.scope, place) if place else ""
        async for doc in self._all(layers_prefix(ctx.scope), after):
            name = parse_layer(doc.value).name
            newest = next((each for each in await self._versions(ctx, name) if _matches(each, members)), None)
            if newest is None:
                continue
            if len(entries) == limit:
                return {"Layers": entries, "NextMarker": render_marker(entries[-1]["LayerName"])}
            entries.append({"LayerName": name, "LayerArn": newest.layer_arn, "LatestMatchingVersion": _entry(newest)})
        return {"Layers": entries}

    async def _versions(self, ctx: RequestContext, name: str) -> list[LayerVersionSpec]:
        """Return the versions of a layer, newest first."""
        found = [parse_layer_version(doc.value) async for doc in self._all(layer_versions_prefix(ctx.scope, name))]
        return found[::-1]

    async def _all(self, prefix: str, after: str = "") -> AsyncIterator[Doc]:
        while True:
            page = await self._documents.list(prefix, after=after)
            for doc in page.docs:
                yield doc
            if page.next is None:
                return
            after = page.next

    def _answer(self, ctx: RequestContext, version: LayerVersionSpec) -> Members:
        location = self._sign_location(version.scope, version.name, version.code.digest, ctx.endpoint)
        content = {
            "Location": location,
            "CodeSha256": version.code.sha256_base64,
            "CodeSize": version.code.zip_bytes,
        }
        return {"Content": content, "LayerArn": version.layer_arn, **_entry(version)}


def _entry(version: LayerVersionSpec) -> Members:
    """Return LayerVersionsListItem. Recorded from AWS: lists that were not sent are absent, empty ones are shown."""
    members: Members = {
        "LayerVersionArn": version.arn,
        "Version": version.version,
        "Description": version.description,
        "CreatedDate": render_last_modified(version.created_at),
        "CompatibleRuntimes": None if version.runtimes is None else list(version.runtimes),
        "CompatibleArchitectures": None if version.architectures is None else list(version.architectures),
        "LicenseInfo": version.license_info,
    }
    return {name: value for name, value in members.items() if value is not None}


def _matches(version: LayerVersionSpec, members: Members) -> bool:
    runtime, architecture = members.get("CompatibleRuntime"), members.get("CompatibleArchitecture")
    return (not runtime or runtime in (version.runtimes or ())) and (
        not architecture or architecture in (version.architectures or ())
    )


def _parse(ctx: RequestContext, text: str, operation: str, version: int | None = None) -> LayerName:
    """Return which layer of the caller's own account is meant; layers of others need a policy, which none has."""
    layer = parse_layer_name(text)
    if layer is None or layer.region not in (None, ctx.scope.region):
        raise ResourceNotFound(_NOTHING)
    if layer.account_id not in (None, ctx.scope.account_id):
        arn = text if version is None else f"{text}:{version}"
        # Developer guide, "Troubleshooting access denied": the text when no policy of the other account allows it.
        raise AccessDenied(
            f"User: {ctx.caller.arn} is not authorized to perform: lambda:{operation} on resource: {arn} "
            f"because no resource-based policy allows the lambda:{operation} action",
            kind=None,
        )
    return layer


def _require_number(version: int) -> None:
    if version < 1:
        raise InvalidParameterValue(_BELOW_ONE)


def _tuple(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)

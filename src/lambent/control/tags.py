"""TagResource, UntagResource, ListTags, and the rules that tags of CreateFunction share with them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from lambent.control.built import require_built
from lambent.control.quotas import TAG_RESERVED_PREFIX, TAGS_LIMIT
from lambent.control.records import FunctionRecord, FunctionRecords
from lambent.model.documents import FunctionSpec
from lambent.model.errors import InvalidParameterValue, ResourceNotFound
from lambent.model.names import TaggableResource, parse_taggable_resource
from lambent.model.requests import Members, RequestContext

Tags = tuple[tuple[str, str], ...]

# Recorded from AWS (2025-11), word for word.
_TOO_MANY: Final = "Number of tags exceeds resource tag limit."
_QUALIFIED: Final = "Tags on function aliases and versions are not supported. Please specify a function ARN."
_UNFIT: Final = "An error occurred and the request cannot be processed."
# Recorded from AWS for functions, mappings and capacity providers; the others by analogy.
_NOT_FOUND: Final[Mapping[str, str]] = {
    "function": "Function not found: {}",
    "event-source-mapping": "Event source mapping not found: {}",
    "capacity-provider": "Capacity provider not found: {}",
    "network-connector": "Network connector not found: {}",
    "code-signing-config": "The Lambda code signing configuration {} can not be found.",
    "layer": "Layer not found: {}",
}


class TagCommands:
    """Tags of functions; other kinds of resources are not built, so none of them is there."""

    def __init__(self, records: FunctionRecords) -> None:
        self._records = records

    async def tag(self, ctx: RequestContext, members: Members) -> Members:
        """TagResource: adds, and overwrites keys that are there."""
        wanted = members["Tags"]
        if not wanted:
            raise InvalidParameterValue(_UNFIT)
        await self._change(ctx, members, "TagResource", lambda tags: parse_tags({**dict(tags), **wanted}))
        return {}

    async def untag(self, ctx: RequestContext, members: Members) -> Members:
        """UntagResource: keys that are not there are no error."""
        keys = frozenset(members["TagKeys"])
        await self._change(
            ctx, members, "UntagResource", lambda tags: tuple(pair for pair in tags if pair[0] not in keys)
        )
        return {}

    async def list(self, ctx: RequestContext, members: Members) -> Members:
        """ListTags."""
        resource = _parse_function(ctx, members, "ListTags")
        record = await self._records.get(ctx.scope, resource.name, _missing(resource))
        return {"Tags": dict(record.spec.tags)}

    async def _change(
        self, ctx: RequestContext, members: Members, operation: str, decide: Callable[[Tags], Tags]
    ) -> None:
        """Tags are no part of the configuration: no new generation, no update under way, the same RevisionId."""
        resource = _parse_function(ctx, members, operation)

        def with_tags(record: FunctionRecord) -> FunctionSpec:
            return replace(record.spec, tags=decide(record.spec.tags))

        await self._records.change(ctx.scope, resource.name, _missing(resource), with_tags)


def parse_tags(tags: Mapping[str, str]) -> Tags:
    """Return tags as a spec keeps them, sorted by key."""
    if len(tags) > TAGS_LIMIT:
        raise InvalidParameterValue(_TOO_MANY)
    # API reference, "Tags": the prefix is AWS's own. Lengths and characters are in the service model.
    if any(key.lower().startswith(TAG_RESERVED_PREFIX) for key in tags):
        raise InvalidParameterValue(_UNFIT)
    return tuple(sorted(tags.items()))


def _parse_function(ctx: RequestContext, members: Members, operation: str) -> TaggableResource:
    resource = parse_taggable_resource(members["Resource"], ctx.scope, operation, caller_arn=ctx.caller.arn)
    require_built(operation, members)
    if resource.kind != "function":
        raise _missing(resource)
    if resource.qualifier is not None:
        raise InvalidParameterValue(_QUALIFIED)
    return resource


def _missing(resource: TaggableResource) -> ResourceNotFound:
    return ResourceNotFound(_NOT_FOUND.get(resource.kind, _NOT_FOUND["function"]).format(resource.arn))

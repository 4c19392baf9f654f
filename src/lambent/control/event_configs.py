"""Event invoke configurations: what becomes of asynchronous invocations of a function, a version or an alias."""

import re
from dataclasses import replace
from typing import Final

from lambent.control.destinations import Reachable, parse_destinations
from lambent.control.quotas import LIST_PAGE_LIMIT
from lambent.control.records import FunctionRecord, FunctionRecords
from lambent.control.targets import page_limit, parse_marker, parse_target, render_marker
from lambent.model.clock import Clock
from lambent.model.documents import FunctionSpec
from lambent.model.errors import InvalidParameterValue, ResourceNotFound
from lambent.model.event_documents import (
    EventInvokeConfig,
    event_config_key,
    event_configs_prefix,
    parse_event_config,
    render_event_config,
)
from lambent.model.functions import LATEST
from lambent.model.ids import Scope
from lambent.model.invocations import Target
from lambent.model.requests import Commands, Members, RequestContext
from lambent.store.contract import Documents

# Recorded from AWS (2025-11), word for word.
_NO_FUNCTION: Final = "The function doesn't exist."
_NOTHING_SET: Final = "You must specify at least one of error handling or destination setting."
_SETTINGS: Final = ("MaximumRetryAttempts", "MaximumEventAgeInSeconds", "DestinationConfig")
_ARN: Final = re.compile(r"arn:[^:]+:lambda:([^:]+):(\d{12}):function:([a-zA-Z0-9-_]+)(?::(\$LATEST|[a-zA-Z0-9-_]+))?")


class EventConfigCommands:
    """PutFunctionEventInvokeConfig … ListFunctionEventInvokeConfigs."""

    def __init__(self, documents: Documents, records: FunctionRecords, reachable: Reachable, clock: Clock) -> None:
        self._documents, self._records = documents, records
        self._reachable, self._clock = reachable, clock

    def commands(self) -> Commands:
        """Return the commands by operation name."""
        return {
            "PutFunctionEventInvokeConfig": self.put,
            "UpdateFunctionEventInvokeConfig": self.update,
            "GetFunctionEventInvokeConfig": self.get,
            "DeleteFunctionEventInvokeConfig": self.delete,
            "ListFunctionEventInvokeConfigs": self.list_configs,
        }

    async def put(self, ctx: RequestContext, members: Members) -> Members:
        """PutFunctionEventInvokeConfig: replaces the whole of it."""
        target = parse_target(ctx, members, "PutFunctionEventInvokeConfig")
        _require_something(members)
        function = await self._get_function(target)
        config = EventInvokeConfig(
            scope=target.scope,
            name=target.name,
            qualifier=target.qualifier or LATEST,
            first_generation=function.spec.first_generation,
            last_modified_at=self._clock.now(),
        )
        return await self._write(config, target, members)

    async def update(self, ctx: RequestContext, members: Members) -> Members:
        """UpdateFunctionEventInvokeConfig: changes what is given; there must be one."""
        target = parse_target(ctx, members, "UpdateFunctionEventInvokeConfig")
        _require_something(members)
        function = await self._get_function(target)
        config = await self._get_config(target, function)
        return await self._write(replace(config, last_modified_at=self._clock.now()), target, members)

    async def get(self, ctx: RequestContext, members: Members) -> Members:
        """GetFunctionEventInvokeConfig. Recorded from AWS: a function that is not there has no configuration either."""
        target = parse_target(ctx, members, "GetFunctionEventInvokeConfig")
        function = await self._records.get(target.scope, target.name, _no_config(target))
        return render_answer(await self._get_config(target, function))

    async def delete(self, ctx: RequestContext, members: Members) -> Members:
        """DeleteFunctionEventInvokeConfig."""
        target = parse_target(ctx, members, "DeleteFunctionEventInvokeConfig")
        function = await self._records.get(target.scope, target.name, _no_config(target))
        config = await self._get_config(target, function)
        await self._documents.delete(config.key)
        return {}

    async def list_configs(self, ctx: RequestContext, members: Members) -> Members:
        """ListFunctionEventInvokeConfigs, by qualifier."""
        target = parse_target(ctx, members, "ListFunctionEventInvokeConfigs")
        function = await self._records.get(target.scope, target.name, ResourceNotFound(_NO_FUNCTION))
        after, limit = parse_marker(members.get("Marker") or None), page_limit(members, LIST_PAGE_LIMIT)
        configs = [each for each in await self._configs(function.spec) if each.qualifier > after]
        answer: Members = {"FunctionEventInvokeConfigs": [render_answer(config) for config in configs[:limit]]}
        if len(configs) > limit:
            # "0" stands behind $LATEST and before every version and alias.
            last = configs[limit - 1].qualifier
            answer["NextMarker"] = render_marker("0" if last == LATEST else last)
        return answer

    async def _configs(self, function: FunctionSpec) -> list[EventInvokeConfig]:
        page = await self._documents.list(event_configs_prefix(function.scope, function.name))
        configs = [parse_event_config(doc.value) for doc in page.docs]
        return [config for config in configs if config.first_generation == function.first_generation]

    async def _get_function(self, target: Target) -> FunctionRecord:
        """Return the function if it is there, and what the qualifier names too."""
        missing = ResourceNotFound(_NO_FUNCTION)
        function = await self._records.get(target.scope, target.name, missing)
        if target.qualifier is not None:
            found = await self._records.find_qualified(function.spec, target.qualifier)
            if found is None:
                raise missing
        return function

    async def _get_config(self, target: Target, function: FunctionRecord) -> EventInvokeConfig:
        doc = await self._documents.find(event_config_key(target.scope, target.name, target.qualifier or LATEST))
        config = None if doc is None else parse_event_config(doc.value)
        if config is None or config.first_generation != function.spec.first_generation:
            raise _no_config(target)
        return config

    async def _write(self, config: EventInvokeConfig, target: Target, members: Members) -> Members:
        if (retries := members.get("MaximumRetryAttempts")) is not None:
            config = replace(config, max_retries=retries)
        if (age_s := members.get("MaximumEventAgeInSeconds")) is not None:
            config = replace(config, max_age_s=age_s)
        if (destinations := members.get("DestinationConfig")) is not None:
            given = parse_destinations(destinations, target, self._reachable)
            for arn in given.values():
                await self._require_function(arn)
            config = replace(
                config,
                on_success=given.get("OnSuccess", config.on_success),
                on_failure=given.get("OnFailure", config.on_failure),
            )
        await self._documents.put(config.key, render_event_config(config))
        return render_answer(config)

    async def _require_function(self, arn: str | None) -> None:
        if arn is None or arn.split(":")[2] != "lambda":
            return
        found = None
        if (match := _ARN.fullmatch(arn)) is not None:
            scope = Scope(match[2], match[1])
            function = await self._records.find(scope, match[3])
            if function is not None:
                found = await self._records.find_qualified(function.spec, match[4] or LATEST)
        if found is None:
            raise InvalidParameterValue(f"The destination ARN {arn} is invalid.")


def render_answer(config: EventInvokeConfig) -> Members:
    """Return FunctionEventInvokeConfig. Recorded from AWS: what was not set is left out, but for the destinations."""
    answer: Members = {
        "FunctionArn": config.arn,
        "LastModified": config.last_modified_at,
        "DestinationConfig": {
            "OnSuccess": {"Destination": config.on_success} if config.on_success else {},
            "OnFailure": {"Destination": config.on_failure} if config.on_failure else {},
        },
    }
    if config.max_retries is not None:
        answer["MaximumRetryAttempts"] = config.max_retries
    if config.max_age_s is not None:
        answer["MaximumEventAgeInSeconds"] = config.max_age_s
    return answer


def _require_something(members: Members) -> None:
    if all(members.get(name) is None for name in _SETTINGS):
        raise InvalidParameterValue(_NOTHING_SET)


def _no_config(target: Target) -> ResourceNotFound:
    arn = replace(target, qualifier=target.qualifier or LATEST).arn
    return ResourceNotFound(f"The function {arn} doesn't have an EventInvokeConfig")

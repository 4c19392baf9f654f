"""Stored documents of asynchronous invocation: the event invoke configuration of a function's qualifier."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from lambent.model.errors import HostError
from lambent.model.ids import Scope

SCHEMA: Final = 1
EVENT_CONFIGS: Final = "spec/event-invoke/"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventInvokeConfig:
    """What the owner wants for asynchronous invocations of one qualifier; None is AWS's default.

    ``first_generation`` is that of the function it was written for: a later namesake has none.
    """

    scope: Scope
    name: str
    qualifier: str  # "$LATEST", a version or an alias
    first_generation: int
    max_retries: int | None = None
    max_age_s: int | None = None
    on_success: str | None = None  # ARNs
    on_failure: str | None = None
    last_modified_at: datetime

    @property
    def key(self) -> str:
        """The key of the document that holds this value."""
        return event_config_key(self.scope, self.name, self.qualifier)

    @property
    def arn(self) -> str:
        """The qualified ARN of the function."""
        return self.scope.arn("lambda", f"function:{self.name}:{self.qualifier}")


def event_config_key(scope: Scope, name: str, qualifier: str) -> str:
    """Return the key of the configuration of one qualifier."""
    return f"{event_configs_prefix(scope, name)}{qualifier}"


def event_configs_prefix(scope: Scope, name: str) -> str:
    """Return the prefix of a function's configurations."""
    return f"{EVENT_CONFIGS}{scope.account_id}/{scope.region}/{name}/"


def parse_event_config(value: object) -> EventInvokeConfig:
    """Return the configuration that a document holds. HostError if its schema is newer than ours or it is damaged."""
    if not isinstance(value, Mapping) or not isinstance(value.get("schema"), int):
        raise HostError("EventInvokeConfig: the document has no schema number")
    if value["schema"] > SCHEMA:
        raise HostError(f"EventInvokeConfig: schema {value['schema']} is newer than {SCHEMA}; upgrade Lambent")
    try:
        return msgspec.convert({name: inner for name, inner in value.items() if name != "schema"}, EventInvokeConfig)
    except msgspec.ValidationError as error:
        raise HostError(f"EventInvokeConfig: damaged document: {error}") from error


def render_event_config(config: EventInvokeConfig) -> dict[str, Any]:
    """Return the document that holds ``config``."""
    return {"schema": SCHEMA, **msgspec.json.decode(msgspec.json.encode(config))}

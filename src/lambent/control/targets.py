"""Which function a request means, and where a list goes on: what commands of several kinds share."""

import base64
import binascii
import re
import uuid
from typing import Final

from lambent.control.built import require_built
from lambent.control.configuration import require_known_groups
from lambent.model.errors import InvalidParameterValue
from lambent.model.ids import RevisionId
from lambent.model.invocations import Target
from lambent.model.names import function_not_found, is_latest, parse_function_reference
from lambent.model.requests import Members, RequestContext

_MARKED: Final = re.compile(r"[a-zA-Z0-9-_]{1,140}(:[0-9]{1,20})?")


def parse_target(ctx: RequestContext, members: Members, operation: str) -> Target:
    """Return which function is meant; refuse members that do not act here."""
    target = parse_function_reference(
        members["FunctionName"], members.get("Qualifier"), ctx.scope, operation, caller_arn=ctx.caller.arn
    )
    require_known_groups(members)
    require_built(operation, members)
    return target


def parse_unqualified(ctx: RequestContext, members: Members, operation: str) -> Target:
    """Return which function is meant by an operation on whole functions; a version or alias of it is not found."""
    target = parse_target(ctx, members, operation)
    if not is_latest(target):
        raise function_not_found(target)
    return target


def new_revision_id() -> RevisionId:
    """Return a RevisionId that nobody has."""
    return RevisionId(str(uuid.uuid4()))


def page_limit(members: Members, most: int) -> int:
    """Return how many entries the caller gets at once."""
    return min(members.get("MaxItems") or most, most)


def render_marker(place: str) -> str:
    """Return the opaque NextMarker of a page that ended at ``place``."""
    return base64.urlsafe_b64encode(place.encode()).decode()


def parse_marker(marker: str | None) -> str:
    """Return the place after which a list goes on, "" without a marker. InvalidParameterValue for what is none."""
    if marker is None:
        return ""
    try:
        place = base64.b64decode(marker.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError) as error:
        raise InvalidParameterValue("Invalid marker.") from error
    if not _MARKED.fullmatch(place):
        raise InvalidParameterValue("Invalid marker.")
    return place

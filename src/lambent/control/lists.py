"""ListFunctions: functions, or all their versions, in an order that a marker can go on in."""

from lambent.control.answers import Answers
from lambent.control.built import require_built
from lambent.control.quotas import LIST_PAGE_LIMIT
from lambent.control.records import FunctionRecord, FunctionRecords
from lambent.control.targets import page_limit, parse_marker, render_marker
from lambent.model.ids import Scope
from lambent.model.requests import Members, RequestContext


class FunctionLists:
    """ListFunctions, at most 50 entries a page."""

    def __init__(self, records: FunctionRecords, answers: Answers) -> None:
        self._records = records
        self._answers = answers

    async def list_functions(self, ctx: RequestContext, members: Members) -> Members:
        """ListFunctions: one entry a function; with ``ALL`` its versions follow, and every ARN is qualified."""
        require_built("ListFunctions", members)
        limit, place = page_limit(members, LIST_PAGE_LIMIT), parse_marker(members.get("Marker") or None)
        if members.get("FunctionVersion") == "ALL":
            records, following = await self._versions(ctx.scope, place, limit)
            entries = [self._answers.entry(record, qualifier=record.spec.version) for record in records]
        else:
            name = place.partition(":")[0]
            records, following = await self._records.list_functions(ctx.scope, after=name, limit=limit)
            entries = [self._answers.entry(record) for record in records]
        answer: Members = {"Functions": entries}
        return {**answer, "NextMarker": render_marker(following)} if following else answer

    async def _versions(self, scope: Scope, place: str, limit: int) -> tuple[list[FunctionRecord], str | None]:
        """Return up to ``limit`` versions from behind ``place``, and the place to go on from: name, or name:number."""
        found: list[FunctionRecord] = []
        name, _, number = place.partition(":")
        following: str | None = name
        if number and (function := await self._records.find(scope, name)) is not None:
            found, more = await self._records.list_versions(function.spec, after=int(number), limit=limit)
            if more is not None:
                return found, f"{name}:{more}"
        while len(found) < limit and following is not None:
            functions, following = await self._records.list_functions(scope, after=following, limit=1)
            for function in functions:
                found.append(function)
                if len(found) == limit and function.spec.last_version:
                    return found, f"{function.spec.name}:0"
                more = await self._append_versions(found, function, limit)
                if more is not None:
                    return found, f"{function.spec.name}:{more}"
        return found, following or None

    async def _append_versions(self, found: list[FunctionRecord], function: FunctionRecord, limit: int) -> int | None:
        if not function.spec.last_version:
            return None
        versions, more = await self._records.list_versions(function.spec, after=0, limit=limit - len(found))
        found += versions
        return more

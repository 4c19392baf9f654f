"""Requests for services that are not ours: passed on to wherever the neighbour is, answers passed back as they come."""

from collections.abc import AsyncIterator
from typing import Final

import structlog

from lambent.frontend.answers import body_length
from lambent.frontend.seams import Identity
from lambent.http.application import BodyPlan, Reply, Request, RequestHead
from lambent.model.errors import CallerError, NeighbourRefusal
from lambent.neighbours.passage import Answered, Passage, Passed

# API reference of S3, PutObject: "5 GB in a single operation"; above what is kept whole, bodies are streamed.
STREAMED_LIMIT_BYTES: Final = 5 * 1024**3
KEPT_LIMIT_BYTES: Final = 8 * 1024 * 1024  # a part of a multipart upload, as SDKs cut it
_DROPPED: Final = frozenset({"connection", "keep-alive", "transfer-encoding"})

log = structlog.get_logger(__name__)


class NeighbourAway(CallerError):
    """The service does not answer."""

    code, status = "ServiceUnavailable", 503


class Forwarding:
    """Answers in the name of neighbours."""

    def __init__(self, passage: Passage) -> None:
        self._passage = passage

    def leads_to(self, service: str | None) -> bool:
        """Return whether requests to ``service`` are passed on."""
        return service is not None and self._passage.leads_to(service)

    def plan(self, head: RequestHead) -> BodyPlan:
        """Return what to do with a body: a long one is passed on as it arrives.

        Nobody can compare its digest then, so where signatures are verified, one that the signature covers is refused.
        """
        length = body_length(head)
        if length is not None and length <= KEPT_LIMIT_BYTES:
            return BodyPlan(KEPT_LIMIT_BYTES)
        return BodyPlan(STREAMED_LIMIT_BYTES, is_streamed=True)

    async def forward(self, service: str, request: Request, identity: Identity, reply: Reply) -> None:
        """Pass ``request`` on and its answer back. NeighbourAway if there is none."""
        head = request.head
        passed = Passed(
            service=service,
            account_id=identity.caller.account_id,
            method=head.method,
            target=head.target,
            headers=head.headers,
            body=request.stream or _whole(request.body),
        )
        is_started = False
        try:
            async with self._passage.open(passed) as answer:
                is_started = True
                await _pass_back(answer, reply)
        except NeighbourRefusal as refusal:
            if is_started:
                log.warning("answer_broken_off", service=service, reason=refusal.message)
                raise  # the server closes the connection: half an answer must not look whole
            raise NeighbourAway(refusal.message) from refusal


async def _whole(body: bytes) -> AsyncIterator[bytes]:
    if body:
        yield body


async def _pass_back(answer: Answered, reply: Reply) -> None:
    headers = [(name, value) for name, value in answer.headers if name not in _DROPPED]
    reply.start(answer.status, headers)
    async for chunk in answer.chunks:
        if reply.is_gone:
            return
        await reply.write(chunk)
    reply.finish()

"""One port for all: from a request to the service, the operation and its command, and back.

Order for every request: Origin and Host, size, signature, operation, members, command. The invoke path leaves after
the first step through a door of its own.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qsl

from lambent.frontend.answers import (
    Answers,
    body_length,
    new_request_id,
    parse_request_id,
    request_too_large,
)
from lambent.frontend.calls import Calls
from lambent.frontend.forwarding import Forwarding
from lambent.frontend.invoke import OFF_LOOP_BYTES, InvokeDoor, is_invoke
from lambent.frontend.seams import DecideOrigin, Identity, OpenCode, OwnCommand, Service, Services, Verify
from lambent.frontend.service_names import find_service
from lambent.http.application import BodyPlan, HttpRefusal, Reply, Request, RequestHead
from lambent.model.errors import CallerError, NotImplementedYet
from lambent.model.ids import RequestId, Scope
from lambent.model.requests import Members, RequestContext
from lambent.wire.bodies import write_json
from lambent.wire.message import WireRequest
from lambent.wire.service import OperationRoute, ServiceCodec

# Recorded from AWS: CreateFunction; the others that carry a package, assumed alike.
PACKAGE_LIMIT_BYTES: Final = 70_167_211
REQUEST_LIMIT_BYTES: Final = 8 * 1024 * 1024  # assumed, for everything else
_PACKAGED: Final = ("CreateFunction", "UpdateFunctionCode", "PublishLayerVersion")
_NO_COMMANDS: Final[Mapping[str, OwnCommand]] = MappingProxyType({})
_OWN_PREFIX: Final = "/_lambent/"
_CODE_PREFIX: Final = "/_lambent/code/"
# API reference, Common Errors: ServiceUnavailable, 503, "a temporary failure of the server"; every SDK tries it again.
_STOPPING_HEADERS: Final = (("content-type", "application/json"), ("x-amzn-errortype", "ServiceUnavailableException"))
_STOPPING: Final = write_json(
    {"__type": "ServiceUnavailableException", "message": "This server is stopping and takes no new requests."}
)
# What S3, which serves these URLs on AWS, answers to a signed URL that is forged or too old.
_CODE_DENIED: Final = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
)


class Gateway:
    """The application behind the port. ``inside`` is for the endpoint in sandboxes: health and readiness are absent.

    ``verify`` is asked for every request to a service; whether it believes an unsigned one is its own matter.
    """

    def __init__(
        self,
        services: Services,
        invoke_door: InvokeDoor,
        *,
        decide_origin: DecideOrigin,
        verify: Verify,
        answers: Answers,
        calls: Calls,
        open_code: OpenCode,
        find_trouble: Callable[[], str | None],
        forwarding: Forwarding | None = None,
        own_commands: Mapping[str, OwnCommand] = _NO_COMMANDS,
        scheme: str = "http",
        inside: bool = False,
        tell_status: Callable[[], Mapping[str, object]] = dict,
    ) -> None:
        self._services, self._invoke_door = services, invoke_door
        self._decide_origin, self._verify = decide_origin, verify
        self._answers, self._calls = answers, calls
        self._open_code, self._find_trouble = open_code, find_trouble
        self._scheme, self._inside = scheme, inside
        self._own_commands = own_commands
        self._tell_status, self._forwarding = tell_status, forwarding
        self._is_stopping = False

    async def stop(self, limit_s: float) -> int:
        """Refuse what comes from now on, let what runs end for ``limit_s``; return how many have not ended by then."""
        self._is_stopping = True
        return await self._calls.drain(limit_s)

    # -- Application

    def plan_body(self, head: RequestHead) -> BodyPlan:
        """Refuse a foreign origin and a body that is too large, before any of it is read."""
        if (reason := self._decide_origin(head)) is not None:
            headers = (("content-type", "application/json"), ("x-amzn-errortype", "AccessDeniedException"))
            raise HttpRefusal(403, headers, write_json({"message": reason}))
        if self._is_stopping and not head.path.startswith(_OWN_PREFIX):
            raise HttpRefusal(503, self._answers.headers(new_request_id()) + _STOPPING_HEADERS, _STOPPING)
        if is_invoke(head):
            return self._invoke_door.plan_body(head)
        length = body_length(head)
        if length is not None and length <= OFF_LOOP_BYTES:
            return BodyPlan(OFF_LOOP_BYTES)
        return self._plan_large(head)

    def handle(self, request: Request, reply: Reply) -> Coroutine[None, None, None] | None:
        """Answer ``request``; to a service, in a task that outlives its caller and its connection."""
        head = request.head
        if head.path.startswith(_OWN_PREFIX):
            return self._handle_own(request, reply)
        try:
            request_id = parse_request_id(head)
        except CallerError as error:
            self._answers.send_error(reply, new_request_id(), error, self._codec_for(head))
            return None
        if is_invoke(head):
            if (answering := self._invoke_door.answer(request, reply, request_id)) is not None:
                self._calls.start(answering, "invoke")
        else:
            self._calls.start(self._answer(request, reply, request_id), "request")
        return None

    # -- our own paths

    def _handle_own(self, request: Request, reply: Reply) -> Coroutine[None, None, None] | None:
        head = request.head
        if not self._inside and (command := self._own_commands.get(f"{head.method} {head.path}")) is not None:
            self._calls.start(self._run_own(command, request, reply), "own command")
            return None
        if head.path.startswith(_CODE_PREFIX) and head.method in ("GET", "HEAD"):
            return self._send_code(head, reply)
        if self._inside or head.method not in ("GET", "HEAD"):
            self._answers.send_json(reply, 404, {"message": "not found"})
        elif head.path == "/_lambent/health":
            self._answers.send_json(reply, 200, {"status": "ok"})
        elif head.path == "/_lambent/ready":
            trouble = "stopping" if self._is_stopping else self._find_trouble()
            answer = {"ready": True} if trouble is None else {"ready": False, "reason": trouble}
            self._answers.send_json(reply, 200 if trouble is None else 503, answer)
        elif head.path == "/_lambent/status":
            self._answers.send_json(reply, 200, self._tell_status())
        else:
            self._answers.send_json(reply, 404, {"message": "not found"})
        return None

    async def _run_own(self, command: OwnCommand, request: Request, reply: Reply) -> None:
        """Run a command of our own: signed as any other request, for the signer's account and region."""
        try:
            identity = self._verify(request.head, request.body)
            scope = Scope(identity.caller.account_id, identity.region)
            answer = await command(scope, dict(parse_qsl(request.head.query)))
        except Exception as error:  # noqa: BLE001  the edge of one unit of work: every failure becomes this caller's answer
            self._answers.send_error(reply, new_request_id(), error, None)
        else:
            self._answers.send_json(reply, 200, answer)

    async def _send_code(self, head: RequestHead, reply: Reply) -> None:
        download = await self._open_code(head.path.removeprefix(_CODE_PREFIX), head.query)
        if download is None:
            reply.send(403, (("content-type", "application/xml"),), _CODE_DENIED)
            return
        headers = (("content-type", "application/zip"), ("content-length", str(download.zip_bytes)))
        reply.start(200, headers)
        async for chunk in download.chunks:
            if reply.is_gone:
                return
            await reply.write(chunk)
        reply.finish()

    # -- services

    def _plan_large(self, head: RequestHead) -> BodyPlan:
        service = self._services.get(name := find_service(head) or "")
        if service is None and self._forwarding is not None and self._forwarding.leads_to(name):
            return self._forwarding.plan(head)
        route = None if service is None else service.codec.route(_wired(head))
        name = "" if route is None else route.codec.name
        limit = PACKAGE_LIMIT_BYTES if name in _PACKAGED else REQUEST_LIMIT_BYTES
        error = request_too_large(limit, name or "requested")
        return BodyPlan(limit, too_large=self._answers.refusal(error, None if service is None else service.codec))

    def _codec_for(self, head: RequestHead) -> ServiceCodec | None:
        service = self._services.get(find_service(head) or "")
        return None if service is None else service.codec

    async def _answer(self, request: Request, reply: Reply, request_id: RequestId) -> None:
        name = find_service(request.head)
        if name is None and not self._inside:  # inside, nothing is told to who has not signed
            self._answers.send_unknown_path(reply, request_id)
            return
        service = self._services.get(name or "")
        try:
            verify = partial(self._verify, request.head, request.body, service=name)
            identity = await asyncio.to_thread(verify) if len(request.body) > OFF_LOOP_BYTES else verify()
            if service is None:
                await self._forward(name or identity.service, request, reply, identity)
                return
        except Exception as error:  # noqa: BLE001  the edge of one unit of work: every failure becomes this caller's answer
            self._answers.send_error(reply, request_id, error, None if service is None else service.codec)
            return
        await self._answer_service(request, reply, request_id, identity=identity, service=service)

    async def _forward(self, service: str, request: Request, reply: Reply, identity: Identity) -> None:
        if self._forwarding is None or not self._forwarding.leads_to(service):
            raise NotImplementedYet(service)
        await self._forwarding.forward(service, request, identity, reply)

    async def _answer_service(
        self, request: Request, reply: Reply, request_id: RequestId, *, identity: Identity, service: Service
    ) -> None:
        wired, route = _wired(request.head, request.body), None
        try:
            route = service.codec.route(wired)
            if route is None:
                if (unknown := service.codec.unknown_operation(wired)) is not None:
                    raise unknown
                self._answers.send_unknown_path(reply, request_id)
                return
            context = self._context(request.head, identity, request_id)
            result = await self._run(route, wired, context, service=service)
            response = route.codec.render(result, request_id)
        except Exception as error:  # noqa: BLE001  the edge of one unit of work: every failure becomes this caller's answer
            self._answers.send_error(reply, request_id, error, service.codec if route is None else route.codec)
        else:
            self._answers.send(reply, request_id, response)

    async def _run(
        self, route: OperationRoute, wired: WireRequest, context: RequestContext, *, service: Service
    ) -> Members:
        command = service.commands.get(route.codec.name)
        if command is None:
            raise NotImplementedYet(route.codec.name)
        if len(wired.body) > OFF_LOOP_BYTES:
            members = await asyncio.to_thread(route.codec.parse, wired, route.labels)
        else:
            members = route.codec.parse(wired, route.labels)
        return await command(context, members)

    def _context(self, head: RequestHead, identity: Identity, request_id: RequestId) -> RequestContext:
        scope = Scope(identity.caller.account_id, identity.region)
        endpoint = f"{self._scheme}://{head.header('host') or ''}"
        return RequestContext(scope, request_id, identity.caller, endpoint)


def _wired(head: RequestHead, body: bytes = b"") -> WireRequest:
    return WireRequest(head.method, head.path, head.query, head.headers, body)

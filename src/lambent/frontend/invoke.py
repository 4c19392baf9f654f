"""The door of Invoke: ``POST /2015-03-31/functions/{name}/invocations`` without the router.

Plain requests are read by one pattern and a few header look-ups; whatever is unusual goes through the service's
codec, so both branches answer alike. Nothing here decides about functions: the road does.
"""

import asyncio
import base64
import re
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import unquote

from lambent.frontend.answers import Answers, body_length, request_too_large
from lambent.frontend.payload import parse_client_context, parse_event, parse_trace_header
from lambent.frontend.seams import AcceptEvent, Identity, Invoker, Verify
from lambent.http.application import BodyPlan, Reply, Request, RequestHead
from lambent.model.clock import Clock
from lambent.model.errors import InvalidParameterValue, RequestTooLarge
from lambent.model.ids import RequestId, Scope
from lambent.model.invocations import SYNC_REQUEST_LIMIT_BYTES, InvocationResult, InvokeCall, Target
from lambent.model.names import parse_function_reference
from lambent.wire.message import WireRequest
from lambent.wire.service import ServiceCodec

# Developer guide, quotas: "1 MB for asynchronous requests".
EVENT_LIMIT_BYTES: Final = 1_048_576
OFF_LOOP_BYTES: Final = 64 * 1024
PREFIX: Final = "/2015-03-31/functions/"
SUFFIX: Final = "/invocations"
_PLAIN_PATH: Final = re.compile(r"/2015-03-31/functions/([A-Za-z0-9-_]{1,64})/invocations")
_PLAIN_QUERY: Final = re.compile(r"Qualifier=((?:\$|%24)LATEST|[A-Za-z0-9-_]{1,128})")
_PLAIN_TENANT: Final = re.compile(r"[a-zA-Z0-9._:/=+\-@ ]{1,256}")
_TYPES: Final = frozenset({None, "RequestResponse", "Event", "DryRun"})
_LOG_TYPES: Final = frozenset({None, "None", "Tail"})
_PLAN: Final = BodyPlan(SYNC_REQUEST_LIMIT_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class InvokeRequest:
    """The members of an Invoke request but its payload, valid by the service model."""

    function: str
    qualifier: str | None = None
    invocation_type: str = "RequestResponse"
    log_type: str = "None"
    client_context: str | None = None
    tenant_id: str | None = None
    is_plain_name: bool = False


def is_invoke(head: RequestHead) -> bool:
    """Whether ``head`` is for this door."""
    path = head.path
    return head.method == "POST" and path.startswith(PREFIX) and path.rstrip("/").endswith(SUFFIX)


def find_plain_request(head: RequestHead) -> InvokeRequest | None:
    """Return the request if it is of the plain kind that nearly all are; None sends it through the codec."""
    if (path := _PLAIN_PATH.fullmatch(head.path)) is None:
        return None
    qualifier = None
    if head.query:
        if (query := _PLAIN_QUERY.fullmatch(head.query)) is None:
            return None
        qualifier = query[1] if query[1][0] != "%" else "$LATEST"
    kind, log_type = head.header("x-amz-invocation-type"), head.header("x-amz-log-type")
    if kind not in _TYPES or log_type not in _LOG_TYPES:
        return None
    tenant_id = head.header("x-amz-tenant-id")
    if tenant_id is not None and not _PLAIN_TENANT.fullmatch(tenant_id):
        return None
    if head.header("x-amz-durable-execution-name") is not None or head.has_repeated_headers:
        return None
    return InvokeRequest(
        function=path[1],
        qualifier=qualifier,
        invocation_type=kind or "RequestResponse",
        log_type=log_type or "None",
        client_context=head.header("x-amz-client-context"),
        tenant_id=tenant_id,
        is_plain_name=True,
    )


class InvokeDoor:
    """Reads Invoke requests, has them run, writes their answers."""

    def __init__(
        self,
        invoker: Invoker,
        codec: ServiceCodec,
        *,
        verify: Verify,
        clock: Clock,
        answers: Answers,
        accept_event: AcceptEvent,
    ) -> None:
        self._invoker, self._codec = invoker, codec
        self._verify, self._accept_event = verify, accept_event
        self._clock, self._answers = clock, answers

    def plan_body(self, head: RequestHead) -> BodyPlan:
        """Refuse an event that is announced as too large; a chunked one is counted."""
        length = body_length(head)
        if length is not None and length <= SYNC_REQUEST_LIMIT_BYTES:
            return _PLAN
        too_large = self._answers.refusal(request_too_large(SYNC_REQUEST_LIMIT_BYTES, "InvokeFunction"), self._codec)
        return BodyPlan(SYNC_REQUEST_LIMIT_BYTES, too_large=too_large)

    def answer(self, request: Request, reply: Reply, request_id: RequestId) -> Coroutine[None, None, None] | None:
        """Answer one request, whatever becomes of it. What is returned has to be run: it outlives its caller."""
        if len(request.body) > OFF_LOOP_BYTES:
            return self._answer_large(request, reply, request_id)
        try:
            identity, asked = self._admit(request)
            call = self._parse_call(request, request_id, identity=identity, asked=asked)
        except Exception as error:  # noqa: BLE001  the edge of one unit of work: each failure is this caller's answer
            self._refuse(reply, request_id, error)
            return None
        return self._run(reply, call, asked.invocation_type)

    async def _answer_large(self, request: Request, reply: Reply, request_id: RequestId) -> None:
        try:
            identity, asked = await asyncio.to_thread(self._admit, request)
            call = self._parse_call(request, request_id, identity=identity, asked=asked)
        except Exception as error:  # noqa: BLE001  the edge of one unit of work: each failure is this caller's answer
            self._refuse(reply, request_id, error)
        else:
            await self._run(reply, call, asked.invocation_type)

    async def _run(self, reply: Reply, call: InvokeCall, invocation_type: str) -> None:
        try:
            if invocation_type == "Event":
                await self._accept_event(call)
                self._send(reply, 202, call)
                return
            result = await self._invoker.invoke(call)
            if call.is_dry_run:
                self._send(reply, 204, call)
            else:
                self._send_result(reply, call, result)
        except Exception as error:  # noqa: BLE001  the edge of one unit of work: each failure is this caller's answer
            self._refuse(reply, call.request_id, error)

    def _refuse(self, reply: Reply, request_id: RequestId, error: Exception) -> None:
        self._answers.send_error(reply, request_id, error, self._codec.operation("Invoke"))

    def _admit(self, request: Request) -> tuple[Identity, InvokeRequest]:
        identity = self._verify(request.head, request.body, service=self._codec.signing_name)
        asked = find_plain_request(request.head) or self._parse_by_codec(request)
        parse_event(request.body)
        return identity, asked

    def _parse_by_codec(self, request: Request) -> InvokeRequest:
        head = request.head
        wired = WireRequest(head.method, head.path, head.query, head.headers)
        label = head.path.rstrip("/").removeprefix(PREFIX).removesuffix(SUFFIX)
        members = self._codec.operation("Invoke").parse(wired, {"FunctionName": unquote(label)})
        if "DurableExecutionName" in members:
            raise InvalidParameterValue("DurableExecutionName is not supported yet")
        return InvokeRequest(
            function=members["FunctionName"],
            qualifier=members.get("Qualifier"),
            invocation_type=members.get("InvocationType", "RequestResponse"),
            log_type=members.get("LogType", "None"),
            client_context=members.get("ClientContext"),
            tenant_id=members.get("TenantId"),
        )

    def _parse_call(
        self, request: Request, request_id: RequestId, *, identity: Identity, asked: InvokeRequest
    ) -> InvokeCall:
        payload = request.body or b"{}"
        if asked.invocation_type == "Event" and len(payload) > EVENT_LIMIT_BYTES:
            # Seen from AWS, with the limit of the day.
            words = f"byte payload is too large for the Event invocation type (limit {EVENT_LIMIT_BYTES} bytes)"
            raise RequestTooLarge(f"{len(payload)} {words}")
        scope = Scope(identity.caller.account_id, identity.region)
        trace = parse_trace_header(request.head.header("x-amzn-trace-id"), self._clock.now().timestamp())
        return InvokeCall(
            request_id=request_id,
            target=self._target(asked, scope, identity.caller.arn),
            payload=payload,
            caller_arn=identity.caller.arn,
            client_context=None if asked.client_context is None else parse_client_context(asked.client_context),
            trace_header=trace,
            tenant_id=asked.tenant_id,
            wants_log_tail=asked.log_type == "Tail" and asked.invocation_type == "RequestResponse",
            is_dry_run=asked.invocation_type == "DryRun",
        )

    def _target(self, asked: InvokeRequest, scope: Scope, caller_arn: str) -> Target:
        if asked.is_plain_name:
            return Target(scope, asked.function, asked.qualifier)
        return parse_function_reference(
            asked.function,
            asked.qualifier,
            scope,
            "InvokeFunction",
            caller_arn=caller_arn,
            # The road asks the function's policy; what is accepted for later goes no such road.
            may_cross_accounts=asked.invocation_type != "Event",
        )

    def _send(self, reply: Reply, status: int, call: InvokeCall) -> None:
        headers = (
            *self._answers.headers(call.request_id),
            ("Content-Type", "application/json"),
            ("x-amzn-Remapped-Content-Length", "0"),
            ("X-Amzn-Trace-Id", cast("str", call.trace_header)),
        )
        reply.send(status, headers)

    def _send_result(self, reply: Reply, call: InvokeCall, result: InvocationResult) -> None:
        headers = [
            *self._answers.headers(call.request_id),
            ("Content-Type", result.content_type),
            ("x-amzn-Remapped-Content-Length", "0"),
            ("X-Amz-Executed-Version", result.executed_version),
            ("X-Amzn-Trace-Id", result.trace_header or cast("str", call.trace_header)),
        ]
        if result.function_error is not None:
            headers.append(("X-Amz-Function-Error", result.function_error))
        if call.wants_log_tail and result.log_tail is not None:
            headers.append(("X-Amz-Log-Result", base64.b64encode(result.log_tail).decode()))
        reply.send(200, headers, result.payload)

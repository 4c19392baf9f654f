"""The Runtime API 2018-06-01 of one execution environment: an HTTP application without a socket of its own.

It keeps the conversation's state and turns calls of the runtime into four calls of its ``RuntimeObserver``. What the
runtime sends is hostile. Not here: time, processes, logs; extensions and telemetry come as further applications.
"""

from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from lambent.environment.error_cause import find_error_cause, split_error_cause
from lambent.environment.faults import sanitised_error_type
from lambent.environment.runtime_replies import (
    ACCEPTED,
    JSON,
    NOT_ALLOWED,
    NOT_FOUND,
    PLAIN,
    render_refusal,
    render_transition_refusal,
)
from lambent.environment.runtime_response import MODE_HEADER, ResponseReader
from lambent.environment.runtime_states import RuntimeEvent, RuntimeState, find_runtime_state
from lambent.http.application import Application, BodyPlan, Headers, IncompleteBody, Reply, Request, RequestHead
from lambent.model.errors import TransitionError
from lambent.model.ids import RequestId
from lambent.model.invocations import ResponseSink

PREFIX: Final = "/2018-06-01/"
NEXT_PATH: Final = "/2018-06-01/runtime/invocation/next"
INVOCATION_PREFIX: Final = "/2018-06-01/runtime/invocation/"
ERROR_TYPE_HEADER: Final = "lambda-runtime-function-error-type"
CAUSE_HEADER: Final = "lambda-runtime-function-xray-error-cause"
CAUSE_CONTENT_TYPE: Final = "application/vnd.aws.lambda.error.cause+json"

# A body up to this size is taken whole, on the short way; a longer one as it comes, so that a cut is noticed.
WHOLE_LIMIT_BYTES: Final = 64 * 1024
# What a runtime may send of a body that is too large, and be read and forgotten: it goes on normally afterwards.
DISCARD_LIMIT_BYTES: Final = 1 << 30

_WHOLE: Final = BodyPlan(WHOLE_LIMIT_BYTES)
_AS_IT_COMES: Final = BodyPlan(DISCARD_LIMIT_BYTES, is_streamed=True)


@dataclass(slots=True, eq=False)
class Exchange:
    """One event for the runtime, and where the answer goes. ``headers`` and ``payload`` are what ``next`` gives out."""

    request_id: RequestId
    invocation_id: str
    headers: Headers
    payload: bytes
    sink: ResponseSink | None = None
    is_delivered: bool = False


@dataclass(frozen=True, slots=True)
class RuntimeAnswer:
    """What became of an exchange. ``error_type`` is set for function errors; the payload of a sink's was written."""

    payload: bytes
    content_type: str = "application/json"
    error_type: str | None = None
    cause: bytes | None = None
    response_bytes: int = 0


class RuntimeObserver(Protocol):
    """Whom the conversation concerns. Called from the loop; must return at once."""

    def runtime_ready(self) -> None:
        """The runtime asked for `next`: INIT ended well, or the invocation is over."""
        ...

    def init_failed(self, answer: RuntimeAnswer) -> None:
        """The runtime posted an error of its initialisation."""
        ...

    def response_started(self, exchange: Exchange) -> None:
        """The first byte of an answer is here."""
        ...

    def answered(self, exchange: Exchange, answer: RuntimeAnswer) -> None:
        """The runtime's answer is complete; it may still be at work until `next`."""
        ...


class RuntimeApi:
    """One environment's conversation with its runtime. ``others``: further APIs, by the first segment of paths."""

    def __init__(
        self,
        observer: RuntimeObserver,
        *,
        is_snapstart: bool = False,
        others: Mapping[str, Application] | None = None,
    ) -> None:
        self._observer = observer
        self._is_snapstart = is_snapstart
        self._others = dict(others or {})
        self._state = RuntimeState.STARTED
        self._exchange: Exchange | None = None
        self._poller: Reply | None = None
        self.runtime_release = ""  # User-Agent of the runtime client, for telemetry

    @property
    def state(self) -> RuntimeState:
        """Where the conversation stands."""
        return self._state

    @property
    def is_delivered(self) -> bool:
        """Whether the runtime has seen the event that was opened last."""
        return self._exchange is None or self._exchange.is_delivered

    def restart(self) -> None:
        """Forget everything of the last program: a new one is about to start."""
        self._state = RuntimeState.STARTED
        self._exchange = None
        self._poller = None

    def hand_over(self, observer: RuntimeObserver) -> None:
        """Speak to ``observer`` from now on, and forget all that was said before."""
        self._observer = observer
        self.runtime_release = ""
        self.restart()

    def open(self, exchange: Exchange) -> None:
        """Give ``exchange`` to the runtime: now if it waits for an event, else when it asks. None may be open."""
        if self._exchange is not None:
            raise TransitionError("an exchange is open already")
        self._exchange = exchange
        if (poller := self._poller) is not None:
            self._poller = None
            self._give(exchange, poller)

    def abandon(self) -> None:
        """End the open exchange without the runtime: what it still says about it is refused."""
        self._exchange = None

    # --- http.Application

    def plan_body(self, head: RequestHead) -> BodyPlan:
        """Read small bodies whole; take what may be streamed, too large or endless as it comes."""
        if not head.path.startswith(PREFIX):
            other = self._others.get(head.path.split("/", 2)[1])
            return other.plan_body(head) if other else _WHOLE
        length = head.header("content-length")
        is_short = length is not None and len(length) < 6 and int(length) <= WHOLE_LIMIT_BYTES
        is_empty = length is None and head.header("transfer-encoding") is None
        if is_empty or (is_short and head.header(MODE_HEADER) is None):
            return _WHOLE
        return _AS_IT_COMES

    def handle(self, request: Request, reply: Reply) -> Coroutine[None, None, None] | None:
        """Answer one call of the sandbox."""
        head = request.head
        path = head.path
        if path == NEXT_PATH:
            self._next(head, reply)
            return None
        if path.startswith(INVOCATION_PREFIX):
            return self._invocation(path[len(INVOCATION_PREFIX) :], request, reply)
        if path.startswith(PREFIX):
            return self._other_call(path[len(PREFIX) :], request, reply)
        if (other := self._others.get(path.split("/", 2)[1])) is not None:
            return other.handle(request, reply)
        reply.send(404, PLAIN, NOT_FOUND)
        return None

    # --- calls of the runtime

    def _next(self, head: RequestHead, reply: Reply) -> None:
        if head.method != "GET":
            reply.send(405, PLAIN, NOT_ALLOWED)
            return
        before = self._state
        after = find_runtime_state(before, RuntimeEvent.NEXT)
        if after is None:
            reply.send(403, JSON, render_transition_refusal(before, RuntimeEvent.NEXT))
            return
        self._state = after
        exchange = self._exchange
        if exchange is not None:
            # Running already: the same event again. Else it came before the runtime asked.
            self._give(exchange, reply)
        else:
            self._wait(reply)
        if before is not after and after is RuntimeState.READY:
            if before is not RuntimeState.RESPONSE_SENT:
                self.runtime_release = head.header("user-agent") or ""
            self._observer.runtime_ready()

    def _wait(self, reply: Reply) -> None:
        self._poller = reply

        def gone() -> None:
            if self._poller is reply:
                self._poller = None

        reply.on_gone(gone)

    def _give(self, exchange: Exchange, reply: Reply) -> None:
        if self._state is RuntimeState.READY:
            self._state = RuntimeState.RUNNING
        exchange.is_delivered = not reply.is_gone
        reply.send(200, exchange.headers, exchange.payload)

    def _invocation(self, rest: str, request: Request, reply: Reply) -> Coroutine[None, None, None] | None:
        request_id, _, kind = rest.partition("/")
        if kind not in ("response", "error"):
            reply.send(404, PLAIN, NOT_FOUND)
            return None
        head = request.head
        if head.method != "POST":
            reply.send(405, PLAIN, NOT_ALLOWED)
            return None
        exchange = self._exchange
        if exchange is None or request_id != exchange.request_id:
            return self._refuse(400, "InvalidRequestID", "Invalid request ID", request, reply)
        # Developer guide, "Using the Lambda runtime API": absent is accepted, a wrong one is a late answer.
        attempt = head.header("lambda-runtime-invocation-id")
        if attempt is not None and attempt != exchange.invocation_id:
            return self._refuse(400, "InvalidInvocationId", "Invalid invocation ID", request, reply)
        event = RuntimeEvent.RESPONSE if kind == "response" else RuntimeEvent.ERROR
        after = find_runtime_state(self._state, event)
        if after is None:
            refusal = render_transition_refusal(self._state, event)
            return _discard_then(request, reply, 403, refusal)
        self._state = after
        if event is RuntimeEvent.ERROR:
            return self._error(exchange, request, reply)
        self._observer.response_started(exchange)
        if request.stream is None and head.header(MODE_HEADER) is None and exchange.sink is None:
            content_type = head.header("content-type") or "application/json"
            body = request.body
            self._finish(exchange, RuntimeAnswer(body, content_type, response_bytes=len(body)))
            reply.send(202, JSON, ACCEPTED)
            return None
        return self._read_response(exchange, request, reply)

    async def _read_response(self, exchange: Exchange, request: Request, reply: Reply) -> None:
        reader = ResponseReader(exchange.request_id, exchange.sink, lambda: self._exchange is exchange)
        outcome = await reader.read(request)
        self._finish(
            exchange,
            RuntimeAnswer(
                outcome.payload, outcome.content_type, outcome.error_type, response_bytes=outcome.response_bytes
            ),
        )
        reply.send(outcome.status, JSON, outcome.reply)

    def _error(self, exchange: Exchange, request: Request, reply: Reply) -> Coroutine[None, None, None] | None:
        if request.stream is not None:
            return self._read_error(exchange, request, reply)
        self._take_error(exchange, request.head, request.body)
        reply.send(202, JSON, ACCEPTED)
        return None

    async def _read_error(self, exchange: Exchange, request: Request, reply: Reply) -> None:
        reader = ResponseReader(exchange.request_id, None, lambda: self._exchange is exchange)
        outcome = await reader.read(request, is_error=True)
        if outcome.error_type is not None:  # too large, cut short
            self._finish(exchange, RuntimeAnswer(outcome.payload, outcome.content_type, outcome.error_type))
        else:
            self._take_error(exchange, request.head, outcome.payload)
        reply.send(outcome.status, JSON, outcome.reply)

    def _take_error(self, exchange: Exchange, head: RequestHead, body: bytes) -> None:
        error_type = sanitised_error_type(head.header(ERROR_TYPE_HEADER))
        content_type = head.header("content-type") or "application/json"
        if content_type == CAUSE_CONTENT_TYPE:
            body, content_type, cause = split_error_cause(body)
        else:
            cause = find_error_cause((head.header(CAUSE_HEADER) or "").encode("latin-1", "replace"))
        self._finish(exchange, RuntimeAnswer(body, content_type, error_type, cause, len(body)))

    def _finish(self, exchange: Exchange, answer: RuntimeAnswer) -> None:
        if self._exchange is not exchange:  # ended meanwhile, by its timeout
            return
        self._exchange = None
        after = find_runtime_state(self._state, RuntimeEvent.SENT)
        if after is None:
            raise TransitionError(f"{RuntimeEvent.SENT} in state {self._state}")
        self._state = after
        self._observer.answered(exchange, answer)

    def _other_call(self, path: str, request: Request, reply: Reply) -> Coroutine[None, None, None] | None:
        method = request.head.method
        expected = {"ping": "GET", "runtime/init/error": "POST"}
        if self._is_snapstart:
            expected |= {"runtime/restore/next": "GET", "runtime/restore/error": "POST"}
        if path not in expected:
            reply.send(404, PLAIN, NOT_FOUND)
        elif method != expected[path]:
            reply.send(405, PLAIN, NOT_ALLOWED)
        elif path == "ping":
            reply.send(200, PLAIN, b"pong")
        elif path == "runtime/restore/next":
            self._restore_next(reply)
        elif request.stream is not None:
            return self._read_init_error(path, request, reply)
        else:
            self._init_error(path, request.head, request.body, reply)
        return None

    async def _read_init_error(self, path: str, request: Request, reply: Reply) -> None:
        outcome = await ResponseReader(RequestId(""), None, lambda: True).read(request, is_error=True)
        if outcome.error_type is None:
            self._init_error(path, request.head, outcome.payload, reply)
        else:
            reply.send(outcome.status, JSON, outcome.reply)

    def _init_error(self, path: str, head: RequestHead, body: bytes, reply: Reply) -> None:
        # The interface emulator: an init error while restoring counts as an error of the restore.
        is_restore = path == "runtime/restore/error" or self._state is RuntimeState.RESTORING
        event = RuntimeEvent.RESTORE_ERROR if is_restore else RuntimeEvent.INIT_ERROR
        after = find_runtime_state(self._state, event)
        if after is None:
            reply.send(403, JSON, render_transition_refusal(self._state, event))
            return
        self._state = after
        error_type = sanitised_error_type(head.header(ERROR_TYPE_HEADER))
        content_type = "application/json" if _is_json(body) else "application/octet-stream"
        self._observer.init_failed(RuntimeAnswer(body, content_type, error_type, None, len(body)))
        reply.send(202, JSON, ACCEPTED)

    def _restore_next(self, reply: Reply) -> None:
        after = find_runtime_state(self._state, RuntimeEvent.RESTORE_NEXT)
        if after is None:
            reply.send(403, JSON, render_transition_refusal(self._state, RuntimeEvent.RESTORE_NEXT))
            return
        self._state = after
        self._wait(reply)

    def _refuse(
        self, status: int, error_type: str, message: str, request: Request, reply: Reply
    ) -> Coroutine[None, None, None] | None:
        return _discard_then(request, reply, status, render_refusal(error_type, message))


def _discard_then(request: Request, reply: Reply, status: int, body: bytes) -> Coroutine[None, None, None] | None:
    """Answer, after a streamed body was read and forgotten: a client that writes first must be able to read."""
    if request.stream is None:
        reply.send(status, JSON, body)
        return None
    return _drain_and_send(request.stream, reply, status, body)


async def _drain_and_send(stream: AsyncIterator[bytes], reply: Reply, status: int, body: bytes) -> None:
    try:
        async for _ in stream:
            pass
    except IncompleteBody:
        return
    reply.send(status, JSON, body)


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True

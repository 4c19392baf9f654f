"""No sequence of calls, exits and timeouts breaks an environment: it is held beside a plain model of AWS's words."""

import asyncio
import json

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from lambent.environment.runtime_api import Exchange, RuntimeApi
from lambent.http.application import Request, RequestHead
from lambent.model.ids import RequestId
from lambent.model.invocations import Status
from lambent.model.phases import Phase
from lambent.testing.recording_driver import ProgramExit

PREFIX = "/2018-06-01/runtime"


class Puppet:
    """A runtime that does what it is told, one order at a time."""

    def __init__(self):
        self.orders = asyncio.Queue()
        self.starts = 0
        self.event = None

    async def script(self, runtime):
        self.starts += 1
        self.event, polling = None, None
        try:
            while True:
                order, argument, done = await self.orders.get()
                if order == "next":
                    polling = asyncio.get_running_loop().create_task(self._poll(runtime))
                elif order == "respond":
                    await polling
                    await runtime.respond(self.event, argument)
                elif order == "fail":
                    await polling
                    await runtime.fail(self.event, argument)
                elif order == "init_error":
                    await runtime.fail_init(argument)
                done.set_result(None)
                if order in ("exit", "init_error"):
                    raise ProgramExit(argument if order == "exit" else 1)
        finally:
            if polling is not None:
                polling.cancel()

    async def _poll(self, runtime):
        self.event = await runtime.next()

    async def order(self, what, argument=None):
        done = asyncio.get_running_loop().create_future()
        self.orders.put_nowait((what, argument, done))
        await asyncio.wait_for(done, 10)


class EnvironmentMachine(RuleBasedStateMachine):
    """The rules are what may happen to one environment; the model is four fields and a list of outcomes."""

    kit = None

    @initialize()
    def begin(self):
        self.loop = asyncio.new_event_loop()
        self.puppet = None
        self.call, self.is_answered, self.is_suppressed = None, False, False
        self.expected_records = []
        self.phase = Phase.INITIALISING
        self.do(self._begin())

    async def _begin(self):
        self.puppet = Puppet()
        self.world = self.kit.make_world(self.puppet.script)
        self.context = self.kit.one_environment(self.world, is_awaited=False)
        self.environment = await self.context.__aenter__()
        await self.started(1)

    def do(self, coroutine):
        async def step():
            await coroutine
            await self.kit.eventually(lambda: self.environment.phase is self.phase and self.is_quiet())

        self.loop.run_until_complete(step())

    def is_quiet(self):
        """Everything that the last rule set off has happened."""
        if self.phase is Phase.INITIALISING:
            return True
        is_running = self.call is not None
        return self.environment.is_settled is not is_running and self.environment._wake is not None

    async def started(self, number):
        await self.kit.eventually(lambda: self.puppet.starts >= number)

    def finish(self, status, error_type=None):
        self.expected_records.append((status, error_type))
        self.call = None

    async def answer(self):
        return await asyncio.wait_for(asyncio.shield(self.running), 10)

    async def expect_fault(self, error_type):
        if not self.is_answered:
            assert json.loads((await self.answer()).payload)["errorType"] == error_type

    # --- what may happen

    @precondition(lambda self: self.phase in (Phase.IDLE, Phase.RESETTING))
    @rule()
    def invoke(self):
        self.call, self.is_answered = self.kit.make_call(), False
        self.do(self._invoke())

    async def _invoke(self):
        starts = self.puppet.starts
        self.running = self.loop.create_task(self.environment.run(self.call))
        if self.phase is Phase.IDLE:
            self.phase = Phase.BUSY
            await self.kit.eventually(lambda: self.puppet.event is not None)
        else:
            self.phase, self.is_suppressed = Phase.INITIALISING, True
            await self.started(starts + 1)

    @precondition(lambda self: self.phase is Phase.INITIALISING or (self.phase is Phase.BUSY and self.is_answered))
    @rule()
    def runtime_asks_for_the_next_event(self):
        async def step():
            self.puppet.event = None
            await self.puppet.order("next")
            if self.phase is Phase.INITIALISING and self.is_suppressed:
                self.phase, self.is_suppressed = Phase.BUSY, False
                await self.kit.eventually(lambda: self.puppet.event is not None)
            else:
                if self.phase is Phase.BUSY:
                    self.finish(Status.SUCCESS, self.error_type)
                self.phase = Phase.IDLE

        self.do(step())

    @precondition(lambda self: self.phase is Phase.BUSY and not self.is_answered)
    @rule(body=st.binary(max_size=20), fails=st.booleans())
    def runtime_answers(self, body, fails):
        async def step():
            await self.puppet.order("fail" if fails else "respond", body)
            result = await self.answer()
            self.is_answered = True
            self.error_type = "Runtime.Oops" if fails else None
            assert (result.payload, result.function_error) == (body, "Unhandled" if fails else None)

        self.do(step())

    @precondition(lambda self: self.phase in (Phase.INITIALISING, Phase.IDLE, Phase.BUSY))
    @rule(code=st.integers(0, 255))
    def runtime_exits(self, code):
        async def step():
            await self.puppet.order("exit", code)
            if self.call is not None:
                await self.expect_fault("Runtime.ExitError")
                self.finish(Status.ERROR, "Runtime.ExitError")
            self.phase, self.is_suppressed = Phase.RESETTING, False

        self.do(step())

    @precondition(lambda self: self.phase is Phase.INITIALISING)
    @rule()
    def runtime_posts_an_init_error_and_exits(self):
        async def step():
            await self.puppet.order("init_error", b'{"errorMessage": "no"}')
            if self.call is not None:
                assert (await self.answer()).payload == b'{"errorMessage": "no"}'
                self.finish(Status.ERROR, "Runtime.Oops")
            self.phase, self.is_suppressed = Phase.RESETTING, False

        self.do(step())

    @precondition(lambda self: self.phase in (Phase.INITIALISING, Phase.BUSY))
    @rule()
    def time_runs_out(self):
        async def step():
            await self.world.clock.advance_s(11.0)
            if self.call is not None:
                await self.expect_fault("Sandbox.Timedout")
                self.finish(Status.TIMEOUT)
            self.phase, self.is_suppressed = Phase.RESETTING, False

        self.do(step())

    @precondition(lambda self: self.phase in (Phase.IDLE, Phase.RESETTING))
    @rule()
    def time_passes_in_idleness(self):
        self.do(self.world.clock.advance_s(1000.0))

    @invariant()
    def log_and_records_tell_what_happened(self):
        if getattr(self, "environment", None) is None:
            return
        log = self.world.log
        records = [(record.status, record.error_type) for record in log.records]
        assert records == self.expected_records
        assert self.world.records == log.records
        order = [kind for kind in log.kinds if kind in ("started", "ended")]
        assert order[::2] == ["started"] * len(order[::2])
        assert order[1::2] == ["ended"] * len(order[1::2])
        assert len(self.world.driver.sandboxes) == 1

    def teardown(self):
        if getattr(self, "puppet", None) is None:
            return

        async def end():
            self.puppet.starts = -(10**6)
            closing = self.loop.create_task(self.context.__aexit__(None, None, None))
            while not closing.done():
                await self.world.clock.advance_s(5.0)
                await asyncio.sleep(0.001)
            await closing
            if self.call is not None:
                await asyncio.gather(self.running, return_exceptions=True)
            assert self.world.driver.open_count == 0

        self.loop.run_until_complete(end())
        self.loop.close()


def test_no_sequence_of_events_breaks_an_environment(kit_module):
    machine = type("Machine", (EnvironmentMachine,), {"kit": kit_module})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


# --- the conversation alone, with calls that no sane runtime makes


class Answer:
    is_gone = False

    def __init__(self):
        self.status = None

    def on_gone(self, callback):
        pass

    def send(self, status, headers, body=b""):
        assert self.status is None
        self.status = status


class ConversationMachine(RuleBasedStateMachine):
    """A runtime that calls anything at any time gets AWS's status, and an invocation at most one answer."""

    @initialize()
    def begin(self):
        self.ready, self.init_errors, self.answers = 0, 0, []
        self.api = RuntimeApi(self)
        self.state, self.open_id, self.delivered, self.number = "Started", None, False, 0
        self.poller = None
        self.expected_ready = self.expected_init_errors = 0

    def runtime_ready(self):
        self.ready += 1

    def init_failed(self, answer):
        self.init_errors += 1

    def response_started(self, exchange):
        pass

    def answered(self, exchange, answer):
        self.answers.append((exchange.request_id, answer.error_type is not None))

    def ask(self, method, path, body=b""):
        answer = Answer()
        head = RequestHead(method, path, path, "", (("content-length", str(len(body))),))
        assert self.api.handle(Request(head, body), answer) is None
        return answer

    @rule()
    def next(self):
        answer = self.ask("GET", f"{PREFIX}/invocation/next")
        if self.state == "InitError":
            assert answer.status == 403
            return
        if self.open_id is not None and self.state != "RuntimeResponseSentState":
            assert answer.status == 200
        self.expected_ready += self.state in ("Started", "RuntimeResponseSentState")
        if self.open_id is None:
            assert answer.status is None
            self.poller, self.state = answer, "Ready"
        else:
            assert answer.status == 200
            self.state = "Running"

    @precondition(lambda self: self.open_id is None)
    @rule()
    def an_event_comes(self):
        self.number += 1
        self.open_id = RequestId(f"id-{self.number}")
        self.api.open(Exchange(self.open_id, "attempt", (), b"{}"))
        if self.poller is not None:
            assert self.poller.status == 200
            self.poller, self.state = None, "Running"

    @rule(kind=st.sampled_from(["response", "error"]), is_right=st.booleans())
    def answer(self, kind, is_right):
        request_id = self.open_id if is_right and self.open_id else "id-0"
        before = len(self.answers)
        answer = self.ask("POST", f"{PREFIX}/invocation/{request_id}/{kind}", b"{}")
        if request_id != self.open_id:
            assert answer.status == 400
        elif self.state != "Running":
            assert answer.status == 403
        else:
            assert answer.status == 202
            assert self.answers[before:] == [(request_id, kind == "error")]
            self.open_id, self.state = None, "RuntimeResponseSentState"
            return
        assert len(self.answers) == before

    @rule()
    def init_error(self):
        answer = self.ask("POST", f"{PREFIX}/init/error", b"{}")
        assert answer.status == (202 if self.state == "Started" else 403)
        if self.state == "Started":
            self.state = "InitError"
            self.expected_init_errors += 1

    @rule()
    def a_new_program_starts(self):
        self.api.restart()
        self.state, self.open_id, self.poller = "Started", None, None

    @invariant()
    def it_stands_where_the_model_stands(self):
        if hasattr(self, "api"):
            assert str(self.api.state) == self.state
            assert (self.ready, self.init_errors) == (self.expected_ready, self.expected_init_errors)


def test_no_sequence_of_calls_confuses_the_conversation():
    run_state_machine_as_test(ConversationMachine, settings=settings(max_examples=150, deadline=None))


@pytest.mark.rounds
def test_no_longer_sequence_of_calls_confuses_the_conversation():
    run_state_machine_as_test(
        ConversationMachine, settings=settings(max_examples=500, stateful_step_count=100, deadline=None)
    )

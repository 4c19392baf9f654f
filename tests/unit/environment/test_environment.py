"""One environment: what a caller gets, and what its log and record say, for every way an invocation may go."""

import asyncio
import json

import pytest

from lambent.environment.environment import INIT_LIMIT_S
from lambent.model.errors import HostError, TransitionError
from lambent.model.invocations import Status
from lambent.model.phases import Phase
from lambent.testing.recording_driver import ProgramExit

pytestmark = pytest.mark.anyio


async def call_once(environment, call):
    async with asyncio.timeout(10):
        return await environment.run(call)


async def test_the_result_of_the_runtime_reaches_the_caller(kit):
    world = kit.make_world()
    async with kit.one_environment(world) as environment:
        result = await call_once(environment, kit.make_call(b'{"a": 1}'))
        await kit.eventually(lambda: environment.is_settled)
    assert (result.payload, result.function_error, result.executed_version) == (b'{"a": 1}', None, "$LATEST")
    assert result.content_type == "application/json"


async def test_first_report_carries_the_init_duration_and_later_ones_do_not(kit):
    async def slow_init(runtime):
        await asyncio.wait_for(gate.wait(), 10)
        await kit.echo(runtime)

    gate = asyncio.Event()
    world = kit.make_world(slow_init)
    async with kit.one_environment(world, is_awaited=False) as environment:
        await kit.eventually(lambda: ("start", 1) in world.driver.calls)
        await world.clock.advance_s(0.25)
        gate.set()
        await environment.ready()
        for _ in range(2):
            await call_once(environment, kit.make_call())
            await kit.eventually(lambda: environment.is_settled)
    first, second = world.log.records
    assert first.init_duration_ms == pytest.approx(250)
    assert first.billed_ms == 250
    assert second.init_duration_ms is None
    assert second.billed_ms == 0
    assert first.max_memory_mib == 42
    assert world.records == [first, second]


async def test_log_of_an_invocation_is_complete_before_its_end(kit):
    async def talks(runtime):
        runtime.print(b"init\n")
        while True:
            event = await runtime.next()
            runtime.print(b"line\nhalf")
            runtime.log(b"framed message\n")
            await runtime.respond(event, b"1")

    world = kit.make_world(talks)
    async with kit.one_environment(world) as environment:
        for _ in range(50):
            await call_once(environment, kit.make_call())
            await kit.eventually(lambda: environment.is_settled)
    expected = ["started", b"line\n", b"framed message\n", b"half", "ended"]
    seen = [value if kind == "output" else kind for kind, value in world.log.entries if not kind.startswith("init")]
    assert seen[0] == b"init\n"
    for at in range(1, len(seen), 5):
        chunk = seen[at : at + 5]
        assert chunk[0] == "started"
        assert chunk[-1] == "ended"
        assert sorted(map(str, chunk)) == sorted(map(str, expected))


async def test_answer_comes_before_the_runtime_is_free_and_the_record_after(kit):
    async def lingers(runtime):
        event = await runtime.next()
        await runtime.respond(event, b'"early"')
        await asyncio.wait_for(gate.wait(), 10)
        await runtime.next()

    gate = asyncio.Event()
    world = kit.make_world(lingers)
    async with kit.one_environment(world) as environment:
        result = await call_once(environment, kit.make_call())
        assert result.payload == b'"early"'
        assert environment.phase is Phase.BUSY
        assert not environment.is_settled
        assert world.log.records == []
        settled = asyncio.Event()
        environment.when_settled(settled.set)
        await world.clock.advance_s(0.5)
        gate.set()
        await asyncio.wait_for(settled.wait(), 10)
        assert environment.phase is Phase.IDLE
    assert world.log.records[0].duration_ms == pytest.approx(500)


async def test_wanted_tail_waits_for_the_report(kit):
    async def lingers(runtime):
        event = await runtime.next()
        runtime.print(b"hello\n")
        await runtime.respond(event, b"1")
        await asyncio.wait_for(gate.wait(), 10)
        await runtime.next()

    gate = asyncio.Event()
    world = kit.make_world(lingers)
    async with kit.one_environment(world) as environment:
        running = asyncio.get_running_loop().create_task(environment.run(kit.make_call(wants_log_tail=True)))
        await kit.eventually(lambda: b"hello\n" in world.log.messages)
        assert not running.done()
        gate.set()
        result = await asyncio.wait_for(running, 10)
    assert result.payload == b"1"
    assert result.log_tail.endswith(b"started\nhello\nended\n")


async def test_function_error_is_unhandled_and_its_body_untouched(kit):
    async def fails(runtime):
        while True:
            event = await runtime.next()
            await runtime.fail(event, b'{"errorMessage": "no"}', "Custom<Type>")

    world = kit.make_world(fails)
    async with kit.one_environment(world) as environment:
        result = await call_once(environment, kit.make_call())
        await kit.eventually(lambda: environment.is_settled)
    record = world.log.records[0]
    assert (result.function_error, result.payload) == ("Unhandled", b'{"errorMessage": "no"}')
    assert (record.status, record.error_type, record.is_function_error) == (Status.SUCCESS, "Runtime.Unknown", True)


@pytest.mark.parametrize(
    ("ending", "error_type", "message"),
    [
        pytest.param(ProgramExit(0), "Runtime.ExitError", "Runtime exited without providing a reason", id="exit-0"),
        pytest.param(ProgramExit(3), "Runtime.ExitError", "Runtime exited with error: exit status 3", id="exit-3"),
        pytest.param(
            ProgramExit(None, 9), "Runtime.ExitError", "Runtime exited with error: signal: killed", id="killed"
        ),
        pytest.param(
            ProgramExit(None, 11),
            "Runtime.ExitError",
            "Runtime exited with error: signal: segmentation fault",
            id="segfault",
        ),
        pytest.param(
            ProgramExit(None, 9, out_of_memory=True),
            "Runtime.OutOfMemory",
            "Runtime exited with error: signal: killed",
            id="memory",
        ),
    ],
)
async def test_a_runtime_that_ends_inside_an_invocation_is_told_in_awss_words(kit, ending, error_type, message):
    async def dies(runtime):
        await runtime.next()
        if runtime.number == 1:
            runtime.print(b"last words")
            raise ending
        await asyncio.Event().wait()

    world = kit.make_world(dies)
    async with kit.one_environment(world) as environment:
        call = kit.make_call()
        result = await call_once(environment, call)
        await kit.eventually(lambda: environment.is_settled)
        assert environment.phase is Phase.RESETTING
    assert json.loads(result.payload) == {
        "errorType": error_type,
        "errorMessage": f"RequestId: {call.request_id} Error: {message}",
    }
    assert result.function_error == "Unhandled"
    record = world.log.records[0]
    assert (record.status, record.error_type) == (Status.ERROR, error_type)
    assert world.log.messages == [b"last words"]
    assert world.log.kinds[-1] == "ended"


async def test_timeout_kills_answers_and_keeps_the_sandbox_for_a_suppressed_init(kit):
    async def hangs_once(runtime):
        event = await runtime.next()
        if runtime.number == 1:
            await asyncio.Event().wait()
        await runtime.respond(event, b'"again"')
        await runtime.next()

    world = kit.make_world(hangs_once)
    async with kit.one_environment(world) as environment:
        call = kit.make_call()
        running = asyncio.get_running_loop().create_task(environment.run(call))
        await kit.eventually(lambda: "started" in world.log.kinds)
        await world.clock.advance_s(2.9)
        assert not running.done()
        await world.clock.advance_s(0.2)
        result = await asyncio.wait_for(running, 10)
        assert json.loads(result.payload) == {
            "errorType": "Sandbox.Timedout",
            "errorMessage": f"RequestId: {call.request_id} Error: Task timed out after 3.00 seconds",
        }
        second = await call_once(environment, kit.make_call())
        await kit.eventually(lambda: environment.is_settled)
    assert second.payload == b'"again"'
    assert len(world.driver.sandboxes) == 1
    timed_out, again = world.log.records
    assert (timed_out.status, timed_out.error_type) == (Status.TIMEOUT, None)
    assert again.init_duration_ms is None
    assert [init.phase for init in world.log.inits] == ["init", "invoke"]


async def test_init_that_takes_ten_seconds_is_tried_again_inside_the_invocation(kit):
    async def slow_once(runtime):
        if runtime.number == 1:
            await asyncio.Event().wait()
        await kit.echo(runtime)

    world = kit.make_world(slow_once)
    async with kit.one_environment(world, is_awaited=False) as environment:
        await kit.eventually(lambda: ("start", 1) in world.driver.calls)
        await world.clock.advance_s(INIT_LIMIT_S)
        await environment.ready()
        assert environment.phase is Phase.RESETTING
        result = await call_once(environment, kit.make_call(b"7"))
        await kit.eventually(lambda: environment.is_settled)
    assert result.payload == b"7"
    first, second = world.log.inits
    assert (first.phase, first.status, first.duration_ms) == ("init", Status.TIMEOUT, pytest.approx(10_000))
    assert (second.phase, second.status) == ("invoke", Status.SUCCESS)
    assert world.log.records[0].init_duration_ms is None


async def test_posted_init_error_of_the_second_try_is_what_the_caller_sees(kit):
    async def never_starts(runtime):
        await runtime.fail_init(f'{{"errorMessage": "try {runtime.number}"}}'.encode(), "Runtime.ImportModuleError")
        raise ProgramExit(1)

    world = kit.make_world(never_starts)
    async with kit.one_environment(world) as environment:
        result = await call_once(environment, kit.make_call())
        await kit.eventually(lambda: environment.is_settled)
        assert environment.is_usable
    assert (result.payload, result.function_error) == (b'{"errorMessage": "try 2"}', "Unhandled")
    for init in world.log.inits:
        assert (init.status, init.error_type) == (Status.ERROR, "Runtime.ImportModuleError")
    assert world.log.kinds == ["init_started", "init_ended", "init_started", "init_ended", "started", "ended"]
    record = world.log.records[0]
    assert (record.status, record.error_type, record.init_duration_ms) == (
        Status.ERROR,
        "Runtime.ImportModuleError",
        None,
    )


async def test_runtime_that_posts_an_init_error_and_stays_is_ended_after_a_grace(kit):
    async def stays(runtime):
        await runtime.fail_init(b"{}")
        await asyncio.Event().wait()

    world = kit.make_world(stays)
    async with kit.one_environment(world, is_awaited=False) as environment:
        await kit.eventually(lambda: environment._init_answer is not None)
        await kit.eventually(lambda: environment._wake is not None)
        await world.clock.advance_s(1.0)
        await environment.ready()
    assert world.log.inits[0].status is Status.ERROR
    assert ("kill",) in world.driver.calls


async def test_exit_during_both_inits_is_an_exit_error(kit):
    async def exits(runtime):
        raise ProgramExit(runtime.number)

    world = kit.make_world(exits)
    async with kit.one_environment(world) as environment:
        result = await call_once(environment, kit.make_call())
    assert json.loads(result.payload)["errorMessage"].endswith("Error: Runtime exited with error: exit status 2")
    assert [init.error_type for init in world.log.inits] == ["Runtime.ExitError", "Runtime.ExitError"]


async def test_suppressed_init_runs_under_the_functions_timeout(kit):
    async def never_ready(runtime):
        if runtime.number == 1:
            raise ProgramExit(1)
        await asyncio.Event().wait()

    world = kit.make_world(never_ready)
    async with kit.one_environment(world) as environment:
        running = asyncio.get_running_loop().create_task(environment.run(kit.make_call()))
        await kit.eventually(lambda: ("start", 2) in world.driver.calls)
        await world.clock.advance_s(3.0)
        result = await asyncio.wait_for(running, 10)
        await kit.eventually(lambda: environment.is_settled)
    assert json.loads(result.payload)["errorType"] == "Sandbox.Timedout"
    assert (world.log.inits[1].phase, world.log.inits[1].status) == ("invoke", Status.TIMEOUT)
    assert world.log.records[0].duration_ms == pytest.approx(3000)


async def test_runtime_that_died_idle_is_started_again_without_an_error(kit):
    async def dies_idle(runtime):
        event = await runtime.next()
        await runtime.respond(event, str(runtime.number).encode())
        if runtime.number == 1:
            waiting = asyncio.get_running_loop().create_task(runtime.next())
            await asyncio.wait_for(gate.wait(), 10)
            waiting.cancel()
            raise ProgramExit(1)
        await runtime.next()

    gate = asyncio.Event()
    world = kit.make_world(dies_idle)
    async with kit.one_environment(world) as environment:
        await call_once(environment, kit.make_call())
        await kit.eventually(lambda: environment.is_settled)
        gate.set()
        await kit.eventually(lambda: environment.phase is Phase.RESETTING)
        result = await call_once(environment, kit.make_call())
        await kit.eventually(lambda: environment.is_settled)
    assert (result.payload, result.function_error) == (b"2", None)


async def test_event_that_a_dying_runtime_never_saw_is_given_to_its_successor(kit):
    async def polls_and_dies(runtime):
        if runtime.number == 1:
            waiting = asyncio.get_running_loop().create_task(runtime.next())
            await asyncio.wait_for(gate.wait(), 10)
            waiting.cancel()
            runtime.hang_up()
            await asyncio.wait_for(death.wait(), 10)
            raise ProgramExit(1)
        await kit.echo(runtime)

    gate, death = asyncio.Event(), asyncio.Event()
    world = kit.make_world(polls_and_dies)
    async with kit.one_environment(world) as environment:
        gate.set()
        await kit.eventually(lambda: environment._api._poller is None)
        running = asyncio.get_running_loop().create_task(environment.run(kit.make_call(b"9")))
        await kit.eventually(lambda: environment.phase is Phase.BUSY)
        death.set()
        result = await asyncio.wait_for(running, 10)
        await kit.eventually(lambda: environment.is_settled)
    assert result.payload == b"9"
    assert world.log.kinds.count("started") == 1


async def test_exit_after_the_answer_keeps_the_answer_and_resets(kit):
    async def one_shot(runtime):
        event = await runtime.next()
        await runtime.respond(event, b"1")
        raise ProgramExit(0)

    world = kit.make_world(one_shot)
    async with kit.one_environment(world) as environment:
        result = await call_once(environment, kit.make_call())
        await kit.eventually(lambda: environment.is_settled)
        assert environment.phase is Phase.RESETTING
    assert (result.payload, result.function_error) == (b"1", None)
    assert (world.log.records[0].status, world.log.records[0].error_type) == (Status.ERROR, "Runtime.ExitError")


async def test_runtime_that_never_asks_again_is_reset_at_the_timeout(kit):
    async def answers_and_hangs(runtime):
        event = await runtime.next()
        await runtime.respond(event, b"1")
        await asyncio.Event().wait()

    world = kit.make_world(answers_and_hangs)
    async with kit.one_environment(world) as environment:
        result = await call_once(environment, kit.make_call())
        assert result.payload == b"1"
        await world.clock.advance_s(3.0)
        await kit.eventually(lambda: environment.is_settled)
        assert environment.phase is Phase.RESETTING
    assert world.log.records[0].status is Status.TIMEOUT


async def test_second_answer_is_refused_and_changes_nothing(kit):
    async def twice(runtime):
        while True:
            event = await runtime.next()
            await runtime.respond(event, b"1")
            answers.append((await runtime.respond(event, b"2")).status)

    answers = []
    world = kit.make_world(twice)
    async with kit.one_environment(world) as environment:
        result = await call_once(environment, kit.make_call())
        await kit.eventually(lambda: environment.is_settled)
    assert (result.payload, answers) == (b"1", [400])


async def test_caller_who_leaves_changes_nothing_for_the_function(kit):
    async def waits(runtime):
        event = await runtime.next()
        await asyncio.wait_for(gate.wait(), 10)
        await runtime.respond(event, b"1")
        await runtime.next()

    gate = asyncio.Event()
    world = kit.make_world(waits)
    async with kit.one_environment(world) as environment:
        running = asyncio.get_running_loop().create_task(environment.run(kit.make_call()))
        await kit.eventually(lambda: "started" in world.log.kinds)
        running.cancel()
        await asyncio.wait((running,))
        gate.set()
        await kit.eventually(lambda: environment.is_settled)
        assert environment.phase is Phase.IDLE
    assert world.log.records[0].status is Status.SUCCESS


async def test_two_calls_at_once_are_a_defect_of_ours(kit):
    world = kit.make_world()
    async with kit.one_environment(world) as environment:
        running = asyncio.get_running_loop().create_task(environment.run(kit.make_call()))
        await asyncio.sleep(0)
        with pytest.raises(TransitionError):
            await environment.run(kit.make_call())
        await running


async def test_host_that_fails_to_make_a_sandbox_says_so_and_leaves_nothing(kit):
    world = kit.make_world()
    world.driver.failures.append(HostError("no more networks"))
    async with kit.one_environment(world, is_awaited=False) as environment:
        with pytest.raises(HostError, match="no more networks"):
            await environment.ready()
    assert environment.phase is Phase.GONE
    assert (world.code.uses, world.driver.open_count) == (0, 0)


async def test_cpu_is_the_functions_share_only_after_init(kit):
    world = kit.make_world()
    async with kit.one_environment(world):
        pass
    opened = next(call[1] for call in world.driver.calls if call[0] == "open")
    limited = next(call[1] for call in world.driver.calls if call[0] == "set_limits")
    assert opened.limits.cpu_share == 2.0
    assert limited.cpu_share == pytest.approx(128 / 1769)
    order = [call[0] for call in world.driver.calls]
    assert order == ["open", "start", "set_limits", "kill", "close"] or order == [
        "open",
        "start",
        "set_limits",
        "kill",
        "kill",
        "close",
    ]


async def test_end_of_an_environment_leaves_no_process_socket_or_use_of_code(kit):
    world = kit.make_world()
    async with kit.one_environment(world) as environment:
        assert world.code.uses == 1
        await call_once(environment, kit.make_call())
        await kit.eventually(lambda: environment.is_settled)
    assert environment.phase is Phase.GONE
    assert (world.code.uses, world.driver.open_count) == (0, 0)
    assert not [task for task in asyncio.all_tasks() if task.get_name() in ("program exit", "scripted runtime")]

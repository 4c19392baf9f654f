"""The log of one environment: formats, levels, tail, and how it reaches its stream."""

from datetime import UTC, datetime, timedelta

import pytest

from lambent.model.functions import FunctionVersion, LogSettings
from lambent.model.ids import Digest, EnvironmentId, RequestId
from lambent.model.invocations import InitRecord, InvocationRecord, Status
from lambent.observe.stream_log import StreamEnvironmentLog

pytestmark = pytest.mark.anyio
ENVIRONMENT = EnvironmentId("22be53a8cfde4e68b844f8ec293b2543")
REQUEST = RequestId("79b5e81f-9cdd-4145-b1f6-7c50ef8a2a36")
STAMP = "2026-11-23T11:59:58Z"


def open_log(logs, **settings):
    version = FunctionVersion(
        scope=logs.scope,
        name="f",
        version="$LATEST",
        generation=1,
        runtime="python3.13",
        handler="a.b",
        role="r",
        memory_mib=128,
        timeout_s=3,
        tmp_mib=512,
        code=Digest("0" * 64),
        code_bytes=1,
        log=LogSettings(**{"group": "/aws/lambda/f", **settings}),
    )
    return StreamEnvironmentLog(logs.writer, version, ENVIRONMENT, logs.clock.now())


def record_of(logs, **members):
    return InvocationRecord(
        request_id=REQUEST,
        scope=logs.scope,
        function_name="f",
        qualifier=None,
        version="$LATEST",
        environment_id=ENVIRONMENT,
        started_at=logs.clock.now(),
        duration_ms=2.3,
        billed_ms=85,
        memory_mib=128,
        max_memory_mib=36,
        **members,
    )


def invoke(log, logs, *output, wants_tail=False, **members):
    """Tell ``log`` what an invocation after a good init tells it."""
    began = logs.clock.now() - timedelta(milliseconds=100)
    init = InitRecord(started_at=began, duration_ms=82.1, runtime_version="python:3.13.v64", runtime_version_arn="arn")
    log.init_started(init)
    log.init_ended(init)
    log.invocation_started(REQUEST, "$LATEST", logs.clock.now(), wants_tail=wants_tail)
    for message in output:
        log.output(message, logs.clock.now())
    log.invocation_ended(record_of(logs, **members))


async def read(logs, log):
    answer = await logs.do("GetLogEvents", logGroupName=log.group, logStreamName=log.stream, startFromHead=True)
    return [event["message"] for event in answer["events"]]


async def test_a_text_log_reads_as_one_recorded_from_aws(logs):
    log = open_log(logs)
    invoke(log, logs, b"multi\n", b"line\n", b"string\n", b"another\rline\n", init_duration_ms=82.1)
    assert log.stream == f"2026/11/23/[$LATEST]{ENVIRONMENT}"
    # Recorded from AWS: test_multi_line_prints.
    assert await read(logs, log) == [
        "INIT_START Runtime Version: python:3.13.v64\tRuntime Version ARN: arn\n",
        f"START RequestId: {REQUEST} Version: $LATEST\n",
        "multi\n",
        "line\n",
        "string\n",
        "another\rline\n",
        f"END RequestId: {REQUEST}\n",
        f"REPORT RequestId: {REQUEST}\tDuration: 2.30 ms\tBilled Duration: 85 ms\tMemory Size: 128 MB\t"
        "Max Memory Used: 36 MB\tInit Duration: 82.10 ms\t\n",
    ]


def kinds(messages):
    return [message.split('"type":"')[1].split('"')[0] if '"type":"' in message else message for message in messages]


@pytest.mark.parametrize(
    ("level", "status", "expected"),
    [
        (None, Status.SUCCESS, ["initStart", "start", "report"]),
        ("INFO", Status.TIMEOUT, ["initStart", "start", "runtimeDone", "report"]),
        ("WARN", Status.SUCCESS, []),
        ("WARN", Status.ERROR, ["runtimeDone", "report"]),
        (
            "DEBUG",
            Status.SUCCESS,
            ["initStart", "initRuntimeDone", "initReport", "start", "runtimeDone", "report"],
        ),
    ],
)
async def test_a_json_log_has_the_events_of_its_system_level(logs, level, status, expected):
    log = open_log(logs, is_json=True, system_level=level)
    invoke(log, logs, status=status)
    log.output(b"end", logs.clock.now() + timedelta(seconds=1))
    assert kinds(await read(logs, log)) == [*(f"platform.{kind}" for kind in expected), "end"]


async def test_application_lines_below_the_level_are_left_out_and_keep_their_own_time(logs):
    log = open_log(logs, is_json=True, application_level="WARN", system_level="WARN")
    log.output(f'{{"level":"INFO","timestamp":"{STAMP}"}}\n'.encode(), logs.clock.now())
    log.output(f'{{"level":"error","timestamp":"{STAMP}"}}\n'.encode(), logs.clock.now())
    log.output(b"plain lines are information\n", logs.clock.now())
    log.output(b"framed", logs.clock.now(), level="FATAL")
    log.output(b"framed and quiet", logs.clock.now(), level="DEBUG")
    await logs.writer.flush()
    answer = await logs.do("GetLogEvents", logGroupName=log.group, logStreamName=log.stream)
    assert [event["message"] for event in answer["events"]] == [
        f'{{"level":"error","timestamp":"{STAMP}"}}\n',
        "framed",
    ]
    # Recorded from AWS: the event of a JSON line has the line's timestamp.
    assert answer["events"][0]["timestamp"] == int(datetime(2026, 11, 23, 11, 59, 58, tzinfo=UTC).timestamp() * 1000)


async def test_text_logs_know_no_levels(logs):
    log = open_log(logs, application_level="FATAL", system_level="WARN")
    log.output(b'{"level":"DEBUG"}\n', logs.clock.now(), level="TRACE")
    assert await read(logs, log) == ['{"level":"DEBUG"}\n']


async def test_the_tail_is_this_invocations_log_and_is_given_once(logs):
    log = open_log(logs)
    invoke(log, logs, b"hello\n", wants_tail=True)
    tail = log.take_tail().decode()
    # Recorded from AWS: test_invocation_with_logs begins at START.
    assert [line.split()[0] for line in tail.splitlines()] == ["START", "hello", "END", "REPORT"]
    assert tail.endswith("Max Memory Used: 36 MB\t\n")
    assert log.take_tail() == b""
    invoke(log, logs, b"hello\n")
    assert log.take_tail() == b""


async def test_the_tail_is_the_last_4096_bytes_however_much_was_printed(logs):
    log = open_log(logs)
    lines = [b"%d %s\n" % (n, b"x" * 1000) for n in range(200)]
    invoke(log, logs, *lines, wants_tail=True)
    everything = b"".join(message.encode() for message in await read(logs, log))
    tail = log.take_tail()
    assert len(tail) == 4096
    assert everything.endswith(tail)


async def test_events_without_a_newline_are_lines_of_the_tail(logs):
    log = open_log(logs, is_json=True)
    invoke(log, logs, wants_tail=True)
    assert kinds(log.take_tail().decode().splitlines()) == ["platform.start", "platform.report"]


async def test_a_group_of_ones_own_names_the_function_in_the_stream(logs):
    log = open_log(logs, group="shared", is_custom_group=True)
    log.output(b"x\n", logs.clock.now())
    await logs.writer.flush()
    streams = (await logs.do("DescribeLogStreams", logGroupName="shared"))["logStreams"]
    assert [stream["logStreamName"] for stream in streams] == [f"2026/11/23/f[$LATEST]{ENVIRONMENT}"]


async def test_messages_are_cut_at_the_greatest_event_and_bad_bytes_are_replaced(logs):
    log = open_log(logs)
    log.output("ü".encode() * 600_000, logs.clock.now())
    log.output(b"\xff\xfe\n", logs.clock.now())
    log.output(b"", logs.clock.now())
    await logs.writer.flush()
    first = await logs.do("GetLogEvents", logGroupName=log.group, logStreamName=log.stream, startFromHead=True)
    rest = await logs.do(
        "GetLogEvents", logGroupName=log.group, logStreamName=log.stream, nextToken=first["nextForwardToken"]
    )
    sizes = [len(event["message"]) for event in first["events"] + rest["events"]]
    assert sizes == [524_275, 600_000 - 524_275, 3]
    assert rest["events"][-1]["message"] == "\ufffd\ufffd\n"


async def test_a_deleted_group_comes_back_with_the_next_line(logs):
    log = open_log(logs)
    log.output(b"one\n", logs.clock.now())
    await logs.writer.flush()
    await logs.do("DeleteLogGroup", logGroupName=log.group)
    log.output(b"two\n", logs.clock.now())
    assert await _flushed(logs, log) == ["two\n"]


async def _flushed(logs, log):
    await logs.writer.flush()
    return await read(logs, log)


async def test_a_clock_set_back_and_lines_of_the_past_are_still_read_in_order(logs):
    log = open_log(logs)
    now = logs.clock.now()
    for minutes in (0, -90, 5, -200):
        log.output(f"{minutes:04d}\n".encode(), now + timedelta(minutes=minutes))
        await logs.writer.flush()
    await logs.writer.flush()
    seen, token = [], {}
    for _ in range(4):
        answer = await logs.do("FilterLogEvents", logGroupName=log.group, limit=1, **token)
        seen += [event["message"] for event in answer["events"]]
        token = {"nextToken": answer.get("nextToken", "")}
    assert seen == ["-200\n", "-090\n", "0000\n", "0005\n"]


async def test_who_asks_for_groups_and_streams_sees_what_was_printed_before(logs):
    log = open_log(logs)
    log.output(b"first\n", logs.clock.now())
    assert [group["logGroupName"] for group in (await logs.do("DescribeLogGroups"))["logGroups"]] == [log.group]
    other = open_log(logs, group="/aws/lambda/other")
    other.output(b"first\n", logs.clock.now())
    found = await logs.do("DescribeLogStreams", logGroupName=other.group)
    assert [stream["logStreamName"] for stream in found["logStreams"]] == [other.stream]

"""Lines and events of the platform, byte for byte as AWS printed them."""

from datetime import UTC, datetime

import pytest

from lambent.model.functions import FunctionVersion, LogSettings
from lambent.model.ids import Digest, EnvironmentId, RequestId, Scope
from lambent.model.invocations import InitRecord, InvocationRecord, Status
from lambent.observe import lines
from lambent.observe.log_names import stream_name

REQUEST = RequestId("79b5e81f-9cdd-4145-b1f6-7c50ef8a2a36")
ARN = "arn:aws:lambda:eu-central-1::runtime:775dab0d220a0b97f3ec34fe1692d7a07b5d13049153b00f03204c9543bd69e4"
AT = datetime(2026, 10, 8, 7, 30, 27, 768_000, tzinfo=UTC)


def version_of(name="tenner-notifier", number="$LATEST", memory_mib=256, **log):
    return FunctionVersion(
        scope=Scope("825765399535", "eu-central-1"),
        name=name,
        version=number,
        generation=1,
        runtime="nodejs22.x",
        handler="index.handler",
        role="r",
        memory_mib=memory_mib,
        timeout_s=3,
        tmp_mib=512,
        code=Digest("0" * 64),
        code_bytes=1,
        log=LogSettings(group=f"/aws/lambda/{name}", **log),
    )


def init(**members):
    return InitRecord(
        **{
            "started_at": AT,
            "duration_ms": 82.1,
            "runtime_version": "nodejs:22.mainline.v122",
            "runtime_version_arn": ARN,
            **members,
        }
    )


def record(**members):
    return InvocationRecord(
        **{
            "request_id": REQUEST,
            "scope": Scope("825765399535", "eu-central-1"),
            "function_name": "tenner-notifier",
            "qualifier": None,
            "version": "$LATEST",
            "environment_id": EnvironmentId("22be53a8cfde4e68b844f8ec293b2543"),
            "started_at": AT,
            "duration_ms": 2.336,
            "billed_ms": 85,
            "memory_mib": 128,
            "max_memory_mib": 36,
            **members,
        }
    )


def test_text_lines_are_those_of_a_recorded_invocation():
    # Recorded from AWS, November 2025: test_multi_line_prints, test_invocation_with_logs.
    assert lines.render_init_start(init(runtime_version="python:3.13.v64")) == (
        f"INIT_START Runtime Version: python:3.13.v64\tRuntime Version ARN: {ARN}\n"
    )
    assert lines.render_start(REQUEST, "$LATEST") == f"START RequestId: {REQUEST} Version: $LATEST\n"
    assert lines.render_end(REQUEST) == f"END RequestId: {REQUEST}\n"
    report = f"REPORT RequestId: {REQUEST}\tDuration: 2.34 ms\tBilled Duration: 85 ms\tMemory Size: 128 MB\t"
    assert lines.render_report(record(init_duration_ms=82.1)) == (
        f"{report}Max Memory Used: 36 MB\tInit Duration: 82.10 ms\t\n"
    )
    assert lines.render_report(record()) == f"{report}Max Memory Used: 36 MB\t\n"


@pytest.mark.parametrize(
    ("members", "end"),
    [
        # Developer guide, "Lambda execution environment": timeouts and crashes are told by REPORT.
        ({"status": Status.TIMEOUT, "error_type": "Sandbox.Timedout"}, "Max Memory Used: 36 MB\tStatus: timeout\n"),
        (
            {"status": Status.ERROR, "error_type": "Runtime.ExitError"},
            "Max Memory Used: 36 MB\tStatus: error\tError Type: Runtime.ExitError\n",
        ),
        (
            {"status": Status.TIMEOUT, "init_duration_ms": 84.0},
            "Max Memory Used: 36 MB\tInit Duration: 84.00 ms\tStatus: timeout\n",
        ),
        ({"is_function_error": True}, "Max Memory Used: 36 MB\t\n"),
        (
            {"trace_header": "Root=1-61c86fa4-59b3c6d959653c527fd10966;Parent=107ea78a5750a811;Sampled=1"},
            "Max Memory Used: 36 MB\t\n"
            "XRAY TraceId: 1-61c86fa4-59b3c6d959653c527fd10966\tSegmentId: 107ea78a5750a811\tSampled: true\t\n",
        ),
        ({"trace_header": "Root=1-6;Parent=1;Sampled=0"}, "Max Memory Used: 36 MB\t\n"),
    ],
)
def test_report_ends_as_the_invocation_did(members, end):
    assert lines.render_report(record(**members)).endswith(end)


@pytest.mark.parametrize(
    ("members", "line"),
    [
        ({}, None),
        (
            {"initialization_type": "provisioned-concurrency"},
            "INIT_REPORT Init Duration: 82.10 ms\tPhase: init\n",
        ),
        # Public logs of 2024 and 2025.
        (
            {"duration_ms": 9999.79, "status": Status.TIMEOUT},
            "INIT_REPORT Init Duration: 9999.79 ms\tPhase: init\tStatus: timeout\n",
        ),
        (
            {"duration_ms": 150.79, "status": Status.ERROR, "error_type": "Runtime.UserCodeSyntaxError"},
            "INIT_REPORT Init Duration: 150.79 ms\tPhase: init\tStatus: error\tError Type: "
            "Runtime.UserCodeSyntaxError\n",
        ),
        (
            {"status": Status.ERROR, "error_type": "Extension.Crash", "phase": "invoke"},
            "INIT_REPORT Init Duration: 82.10 ms\tPhase: invoke\tStatus: error\tError Type: Extension.Crash\n",
        ),
    ],
)
def test_init_report_is_printed_for_failures_and_prepared_environments(members, line):
    assert lines.render_init_report(init(**members)) == line


def test_an_environment_without_a_runtime_version_prints_no_init_start():
    assert lines.render_init_start(init(runtime_version=None, runtime_version_arn=None)) is None


def test_platform_events_are_those_of_a_recorded_json_log():
    # Recorded from AWS, October 2026, in a public repository: a function with a log group of its own.
    version = version_of(is_json=True, is_custom_group=True)
    stream = stream_name(version, EnvironmentId("22be53a8cfde4e68b844f8ec293b2543"), AT)
    assert stream == "2026/10/08/tenner-notifier[$LATEST]22be53a8cfde4e68b844f8ec293b2543"
    assert lines.render_event("platform.initStart", AT, lines.init_start_record(init(), version, stream)) == (
        '{"time":"2026-10-08T07:30:27.768Z","type":"platform.initStart","record":{"initializationType":"on-demand",'
        f'"phase":"init","runtimeVersion":"nodejs:22.mainline.v122","runtimeVersionArn":"{ARN}",'
        '"functionName":"tenner-notifier","functionVersion":"$LATEST",'
        '"instanceId":"2026/10/08/tenner-notifier[$LATEST]22be53a8cfde4e68b844f8ec293b2543",'
        '"instanceMaxMemory":268435456}}'
    )
    assert lines.render_event("platform.start", AT, lines.start_record(REQUEST, version)) == (
        '{"time":"2026-10-08T07:30:27.768Z","type":"platform.start","record":{'
        '"requestId":"79b5e81f-9cdd-4145-b1f6-7c50ef8a2a36",'
        '"functionArn":"arn:aws:lambda:eu-central-1:825765399535:function:tenner-notifier","version":"$LATEST"}}'
    )
    report = record(duration_ms=1233.96, billed_ms=1698, memory_mib=256, max_memory_mib=123, init_duration_ms=463.512)
    assert lines.render_event("platform.report", AT, lines.report_record(report)) == (
        '{"time":"2026-10-08T07:30:27.768Z","type":"platform.report","record":{'
        '"requestId":"79b5e81f-9cdd-4145-b1f6-7c50ef8a2a36","metrics":{"durationMs":1233.96,"billedDurationMs":1698,'
        '"memorySizeMB":256,"maxMemoryUsedMB":123,"initDurationMs":463.512},"status":"success"}}'
    )


def test_failures_in_json_are_those_of_recorded_json_logs():
    # Recorded from AWS in public repositories: June 2024 (initReport), July 2026 (runtimeDone, report).
    failed = init(duration_ms=10000.487, status=Status.TIMEOUT)
    assert lines.render_event("platform.initReport", AT, lines.init_report_record(failed)) == (
        '{"time":"2026-10-08T07:30:27.768Z","type":"platform.initReport","record":{"initializationType":"on-demand",'
        '"phase":"init","status":"timeout","metrics":{"durationMs":10000.487}}}'
    )
    timed_out = record(status=Status.TIMEOUT, duration_ms=5000, billed_ms=5000, max_memory_mib=94)
    assert lines.render_event("platform.runtimeDone", AT, lines.runtime_done_record(timed_out)).endswith(
        '"status":"timeout","metrics":{"durationMs":5000.0,"producedBytes":0}}}'
    )
    assert lines.render_event("platform.report", AT, lines.report_record(timed_out)).endswith(
        '"metrics":{"durationMs":5000.0,"billedDurationMs":5000,"memorySizeMB":128,"maxMemoryUsedMB":94},'
        '"status":"timeout"}}'
    )


def test_runtime_done_tells_spans_and_bytes_as_recorded():
    # Recorded from AWS, February 2024, in a public repository.
    at = datetime(2024, 2, 9, 8, 42, 44, 78_000, tzinfo=UTC)
    done = record(
        duration_ms=1.056, response_bytes=50, spans=(("responseLatency", at, 0.677), ("responseDuration", at, 0.035))
    )
    assert lines.render_event("platform.runtimeDone", at, lines.runtime_done_record(done)) == (
        '{"time":"2024-02-09T08:42:44.078Z","type":"platform.runtimeDone","record":{'
        '"requestId":"79b5e81f-9cdd-4145-b1f6-7c50ef8a2a36","status":"success","spans":['
        '{"name":"responseLatency","start":"2024-02-09T08:42:44.078Z","durationMs":0.677},'
        '{"name":"responseDuration","start":"2024-02-09T08:42:44.078Z","durationMs":0.035}],'
        '"metrics":{"durationMs":1.056,"producedBytes":50}}}'
    )


def test_only_a_sampled_trace_is_told():
    # Recorded from AWS: the events above are of functions that were not traced, and have no tracing.
    header = "Root=1-6;Parent=1;Sampled="
    for make in (lines.runtime_done_record, lines.report_record):
        assert "tracing" not in make(record(trace_header=f"{header}0"))
        assert make(record(trace_header=f"{header}1"))["tracing"] == {
            "type": "X-Amzn-Trace-Id",
            "value": f"{header}1",
        }


def test_a_published_version_starts_under_its_qualified_arn():
    fields = lines.start_record(REQUEST, version_of(number="7"))
    assert (fields["functionArn"].endswith(":function:tenner-notifier:7"), fields["version"]) == (True, "7")


def test_streams_are_named_by_day_version_and_environment():
    # Recorded from AWS: AWS_LAMBDA_LOG_STREAM_NAME.
    environment = EnvironmentId("60cefc4c4d174d898e4dbb301f9f10ef")
    assert stream_name(version_of(), environment, AT) == f"2026/10/08/[$LATEST]{environment}"
    assert stream_name(version_of(number="3"), environment, AT) == f"2026/10/08/[3]{environment}"


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        # Developer guide, "Log-level filtering", "System log level event mapping", row by row.
        (lines.init_start_level(init()), "INFO"),
        (lines.init_start_level(init(runtime_version=None)), "DEBUG"),
        (lines.done_level(Status.SUCCESS), "DEBUG"),
        (lines.done_level(Status.ERROR), "WARN"),
        (lines.init_report_level(init()), "DEBUG"),
        (lines.init_report_level(init(initialization_type="provisioned-concurrency")), "INFO"),
        (lines.init_report_level(init(status=Status.TIMEOUT)), "WARN"),
        (lines.report_level(Status.SUCCESS), "INFO"),
        (lines.report_level(Status.TIMEOUT), "WARN"),
    ],
)
def test_system_levels_are_those_of_the_guide(level, expected):
    assert level.name == expected

"""Commands on log groups, streams and events, on a real store."""

import pytest

from lambent.model.ids import Scope
from lambent.observe.log_errors import (
    DeletionProtected,
    InvalidParameter,
    LogResourceAlreadyExists,
    LogResourceNotFound,
)
from lambent.observe.log_names import group_key
from lambent.observe.logs_api import RETENTION_DAYS, decide_rejected

pytestmark = pytest.mark.anyio
DAY = 86_400_000
HOUR = 3_600_000


async def refusal(kind, awaitable):
    with pytest.raises(kind) as refused:
        await awaitable
    return refused.value.code, refused.value.message


async def group_names(logs, **members):
    return [group["logGroupName"] for group in (await logs.do("DescribeLogGroups", **members))["logGroups"]]


async def stream_names(logs, **members):
    answer = await logs.do("DescribeLogStreams", logGroupName="g", **members)
    return [stream["logStreamName"] for stream in answer["logStreams"]], answer.get("nextToken")


async def test_a_log_group_is_described_as_it_was_made(logs):
    assert await logs.do("CreateLogGroup", logGroupName="/aws/lambda/f", tags={"a": "b"}) == {}
    arn = "arn:aws:logs:eu-central-1:111111111111:log-group:/aws/lambda/f"
    assert await logs.do("DescribeLogGroups") == {
        "logGroups": [
            {
                "logGroupName": "/aws/lambda/f",
                "creationTime": logs.now_ms,
                "metricFilterCount": 0,
                "arn": f"{arn}:*",
                "storedBytes": 0,
                "logGroupClass": "STANDARD",
                "logGroupArn": arn,
                "deletionProtectionEnabled": False,
            }
        ]
    }
    await logs.do("DeleteLogGroup", logGroupName="/aws/lambda/f")
    assert await group_names(logs) == []


async def test_what_is_missing_or_there_already_is_refused_in_awss_words(logs):
    missing = ("ResourceNotFoundException", "The specified log group does not exist.")
    for operation, members in {
        "DeleteLogGroup": {},
        "CreateLogStream": {"logStreamName": "s"},
        "DescribeLogStreams": {},
        "GetLogEvents": {"logStreamName": "s"},
        "FilterLogEvents": {},
        "PutRetentionPolicy": {"retentionInDays": 1},
        "DeleteRetentionPolicy": {},
        "PutLogEvents": {"logStreamName": "s", "logEvents": [{"timestamp": 1, "message": "m"}]},
    }.items():
        assert await refusal(LogResourceNotFound, logs.do(operation, logGroupName="g", **members)) == missing
    await logs.do("CreateLogGroup", logGroupName="g")
    assert await refusal(LogResourceAlreadyExists, logs.do("CreateLogGroup", logGroupName="g")) == (
        "ResourceAlreadyExistsException",
        "The specified log group already exists",
    )
    missing = ("ResourceNotFoundException", "The specified log stream does not exist.")
    for operation in ("DeleteLogStream", "GetLogEvents"):
        refused = logs.do(operation, logGroupName="g", logStreamName="s")
        assert await refusal(LogResourceNotFound, refused) == missing
    assert await refusal(LogResourceNotFound, logs.put("g", "s", (0, "m"))) == missing
    refused = logs.do("FilterLogEvents", logGroupName="g", logStreamNames=["s"])
    assert await refusal(LogResourceNotFound, refused) == missing
    await logs.do("CreateLogStream", logGroupName="g", logStreamName="s")
    refused = logs.do("CreateLogStream", logGroupName="g", logStreamName="s")
    assert await refusal(LogResourceAlreadyExists, refused) == (
        "ResourceAlreadyExistsException",
        "The specified log stream already exists",
    )


async def test_what_is_not_built_and_what_is_reserved_is_refused(logs):
    for members, message in (
        ({"logGroupName": "aws/x"}, "Log groups starting with AWS/ are reserved for AWS."),
        ({"logGroupName": "g", "kmsKeyId": "k"}, "kmsKeyId is not supported yet"),
        ({"logGroupName": "g", "logGroupClass": "DELIVERY"}, "logGroupClass is not supported yet"),
    ):
        assert await refusal(InvalidParameter, logs.do("CreateLogGroup", **members)) == (
            "InvalidParameterException",
            message,
        )
    await logs.do("CreateLogGroup", logGroupName="p", deletionProtectionEnabled=True)
    code, _ = await refusal(DeletionProtected, logs.do("DeleteLogGroup", logGroupName="p"))
    assert (code, await group_names(logs)) == ("ValidationException", ["p"])


async def test_log_groups_are_listed_by_name_in_pages_by_prefix_and_pattern(logs):
    names = [f"/aws/lambda/f{n}" for n in range(5)] + ["other", "z" * 512]
    for name in reversed(names):
        await logs.do("CreateLogGroup", logGroupName=name)
    assert await group_names(logs) == names
    assert await group_names(logs, logGroupNamePrefix="/aws/lambda/f") == names[:5]
    assert await group_names(logs, logGroupNamePrefix="z" * 400) == names[6:]
    assert await group_names(logs, logGroupNamePattern="lambda/f3") == ["/aws/lambda/f3"]
    assert await group_names(logs, logGroupIdentifiers=["other"]) == ["other"]
    seen, token = [], {}
    while token is not None:
        answer = await logs.do("DescribeLogGroups", limit=2, **token)
        seen += [group["logGroupName"] for group in answer["logGroups"]]
        token = {"nextToken": answer["nextToken"]} if "nextToken" in answer else None
    assert seen == names
    refused = logs.do("DescribeLogGroups", logGroupNamePrefix="a", logGroupNamePattern="b")
    assert (await refusal(InvalidParameter, refused))[0] == "InvalidParameterException"


async def test_accounts_and_regions_do_not_see_each_other(logs):
    await logs.do("CreateLogGroup", logGroupName="g")
    for scope in (Scope("222222222222", "eu-central-1"), Scope("111111111111", "eu-central")):
        logs.scope = scope
        assert await group_names(logs) == []
        assert (await refusal(LogResourceNotFound, logs.do("DeleteLogGroup", logGroupName="g")))[0]


async def test_log_streams_are_listed_by_name_or_by_their_last_event(logs):
    await logs.do("CreateLogGroup", logGroupName="g")
    names = ["a", "b:".replace(":", "/[1]"), "c", "ünï", "x" * 512]
    for name in reversed(names):
        await logs.do("CreateLogStream", logGroupName="g", logStreamName=name)
    assert sorted((await stream_names(logs))[0]) == sorted(names)
    assert (await stream_names(logs, descending=True))[0] == sorted(names, reverse=True)
    assert (await stream_names(logs, logStreamNamePrefix="x" * 300))[0] == ["x" * 512]
    for members in ({}, {"descending": True}, {"orderBy": "LastEventTime", "descending": True}):
        seen, token = [], None
        while True:
            found, token = await stream_names(logs, limit=2, **members, **({"nextToken": token} if token else {}))
            assert len(found) <= 2
            seen += found
            if token is None:
                break
        assert sorted(seen) == sorted(names)
    await logs.put("g", "c", (-10, "x"), (-5, "y"))
    await logs.put("g", "a", (-7, "z"))
    found, _ = await stream_names(logs, orderBy="LastEventTime", descending=True, limit=2)
    assert found == ["c", "a"]
    described = (await logs.do("DescribeLogStreams", logGroupIdentifier="g", logStreamNamePrefix="c"))["logStreams"][0]
    assert len(described.pop("uploadSequenceToken")) == 56
    assert described == {
        "logStreamName": "c",
        "creationTime": logs.now_ms,
        "arn": "arn:aws:logs:eu-central-1:111111111111:log-group:g:log-stream:c",
        "storedBytes": 0,
        "firstEventTimestamp": logs.now_ms - 10,
        "lastEventTimestamp": logs.now_ms - 5,
        "lastIngestionTime": logs.now_ms,
    }
    refused = logs.do("DescribeLogStreams", logGroupName="g", orderBy="LastEventTime", logStreamNamePrefix="a")
    assert await refusal(InvalidParameter, refused) == (
        "InvalidParameterException",
        "Cannot order by LastEventTime with a logStreamNamePrefix.",
    )


async def test_a_group_is_named_by_name_or_arn_but_not_by_both(logs):
    await logs.do("CreateLogGroup", logGroupName="g")
    arn = "arn:aws:logs:eu-central-1:111111111111:log-group:g"
    for identifier in ("g", arn, f"{arn}:*"):
        assert (await logs.do("DescribeLogStreams", logGroupIdentifier=identifier))["logStreams"] == []
    for members in ({}, {"logGroupName": "g", "logGroupIdentifier": "g"}):
        await refusal(InvalidParameter, logs.do("DescribeLogStreams", **members))


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([(0, "a"), (-1, "b")], "Log events in a single PutLogEvents request must be in chronological order."),
        (
            [(-25 * HOUR, "a"), (0, "b")],
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
        ),
        ([(0, "x" * 1_048_551)], "Log event too large: 1048577 bytes exceeds limit of 1048576"),
        ([(0, "x" * 524_263), (0, "y" * 524_262)], "Upload too large: 1048577 bytes exceeds limit of 1048576"),
    ],
)
async def test_a_batch_that_breaks_a_rule_is_refused_whole(logs, events, message):
    await logs.do("CreateLogGroup", logGroupName="g")
    await logs.do("CreateLogStream", logGroupName="g", logStreamName="s")
    assert await refusal(InvalidParameter, logs.put("g", "s", *events)) == ("InvalidParameterException", message)
    assert (await logs.do("FilterLogEvents", logGroupName="g"))["events"] == []


async def test_a_batch_of_the_greatest_size_is_taken_whatever_its_sequence_token(logs):
    await logs.do("CreateLogGroup", logGroupName="g")
    await logs.do("CreateLogStream", logGroupName="g", logStreamName="s")
    taken = await logs.do(
        "PutLogEvents",
        logGroupName="g",
        logStreamName="s",
        sequenceToken="anything",
        entity={},
        logEvents=[{"timestamp": logs.now_ms, "message": "x" * 1_048_550}],
    )
    assert len(taken.pop("nextSequenceToken")) == 56
    assert taken == {"rejectedEntityInfo": {"errorType": "UnsupportedLogGroupType"}}
    many = await logs.put("g", "s", *((0, f"{n}") for n in range(10_000)))
    assert "rejectedLogEventsInfo" not in many
    answer = await logs.do("GetLogEvents", logGroupName="g", logStreamName="s", limit=10_000)
    assert [event["message"] for event in answer["events"][-3:]] == ["9997", "9998", "9999"]


@pytest.mark.parametrize(
    ("times", "retention_days", "expected"),
    [
        ([0], None, (0, 1, {})),
        ([2 * HOUR], None, (0, 1, {})),
        ([0, 2 * HOUR + 1, 3 * HOUR], None, (0, 1, {"tooNewLogEventStartIndex": 1})),
        ([-14 * DAY], None, (0, 1, {})),
        ([-15 * DAY, -14 * DAY - 1, 0], None, (2, 3, {"tooOldLogEventEndIndex": 2})),
        ([-2 * DAY, 0], 1, (1, 2, {"expiredLogEventEndIndex": 1})),
        (
            [-15 * DAY, -2 * DAY, 0, 3 * HOUR],
            1,
            (2, 3, {"tooOldLogEventEndIndex": 1, "expiredLogEventEndIndex": 2, "tooNewLogEventStartIndex": 3}),
        ),
        ([-15 * DAY], 1, (1, 1, {"tooOldLogEventEndIndex": 1})),
    ],
)
def test_events_too_old_too_new_or_expired_are_named_and_left_out(times, retention_days, expected):
    now = 100 * DAY
    oldest = 0 if retention_days is None else now - retention_days * DAY
    rejected = decide_rejected([now + at for at in times], oldest, now)
    assert (rejected.first, rejected.end, rejected.info) == expected


async def test_rejected_events_are_told_and_the_others_stay(logs):
    await logs.do("CreateLogGroup", logGroupName="g")
    await logs.do("CreateLogStream", logGroupName="g", logStreamName="s")
    answer = await logs.put("g", "s", (-20 * DAY, "old"), (0, "good"), (3 * HOUR, "new"))
    assert answer["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 1, "tooNewLogEventStartIndex": 2}
    events = (await logs.do("GetLogEvents", logGroupName="g", logStreamName="s"))["events"]
    assert [event["message"] for event in events] == ["good"]


async def test_retention_takes_awss_values_and_acts(logs):
    await logs.do("CreateLogGroup", logGroupName="g")
    await logs.do("CreateLogStream", logGroupName="g", logStreamName="s")
    await logs.put("g", "s", (-23 * HOUR, "old"), (0, "new"))
    code, message = await refusal(InvalidParameter, logs.do("PutRetentionPolicy", logGroupName="g", retentionInDays=2))
    assert code == "InvalidParameterException"
    assert message.startswith("1 validation error detected: Value '2' at 'retentionInDays' failed")
    for days in RETENTION_DAYS:
        await logs.do("PutRetentionPolicy", logGroupName="g", retentionInDays=days)
        assert (await logs.do("DescribeLogGroups"))["logGroups"][0]["retentionInDays"] == days
    await logs.do("DeleteRetentionPolicy", logGroupName="g")
    assert "retentionInDays" not in (await logs.do("DescribeLogGroups"))["logGroups"][0]

    await logs.do("PutRetentionPolicy", logGroupName="g", retentionInDays=1)
    await logs.clock.advance_s(2 * 3600)
    stored = (await logs.do("DescribeLogGroups"))["logGroups"][0]["storedBytes"]
    for _ in range(2):  # expired events are not answered, whether the sweeper has been there or not
        events = (await logs.do("FilterLogEvents", logGroupName="g"))["events"]
        assert [event["message"] for event in events] == ["new"]
        await logs.groups.sweep_once()
    assert 0 < (await logs.do("DescribeLogGroups"))["logGroups"][0]["storedBytes"] < stored


async def test_a_group_made_anew_is_empty_and_what_a_deletion_left_is_swept(logs):
    await logs.do("CreateLogGroup", logGroupName="g")
    await logs.do("CreateLogStream", logGroupName="g", logStreamName="s")
    await logs.put("g", "s", (0, "before"))
    group = await logs.groups.get_group(logs.scope, "g")
    # As if the process had died after the first write of the deletion.
    await logs.store.documents.delete(group_key(logs.scope, "g"))
    await logs.do("CreateLogGroup", logGroupName="g")
    assert (await logs.do("FilterLogEvents", logGroupName="g"))["events"] == []
    assert (await logs.events.names("log/")) != []
    await logs.groups.sweep_once()
    assert await logs.events.names("log/") == []
    assert [stream async for stream in logs.groups.streams(group)] == []


async def test_deleting_a_stream_takes_its_events(logs):
    await logs.do("CreateLogGroup", logGroupName="g")
    await logs.do("CreateLogStream", logGroupName="g", logStreamName="s")
    await logs.put("g", "s", (0, "before"))
    await logs.do("DeleteLogStream", logGroupName="g", logStreamName="s")
    assert await logs.events.names("log/") == []
    await logs.do("CreateLogStream", logGroupName="g", logStreamName="s")
    assert (await logs.do("GetLogEvents", logGroupName="g", logStreamName="s"))["events"] == []


async def test_empty_streams_of_environments_are_forgotten_and_those_of_callers_stay(logs):
    await logs.do("CreateLogGroup", logGroupName="g")
    await logs.do("CreateLogStream", logGroupName="g", logStreamName="callers")
    await logs.groups.ensure_stream(logs.scope, "g", "environments")
    await logs.groups.sweep_once()
    assert (await stream_names(logs))[0] == ["callers", "environments"]
    await logs.clock.advance_s(90_000)
    await logs.groups.sweep_once()
    assert (await stream_names(logs))[0] == ["callers"]

"""Reading events: pages, tokens, order, filters, on a real store."""

import pytest

from lambent.observe.log_errors import InvalidParameter
from lambent.observe.patterns.invalid import InvalidFilterPattern

pytestmark = pytest.mark.anyio


@pytest.fixture
async def stream(logs):
    """A group with a stream and a function that reads it."""
    await logs.do("CreateLogGroup", logGroupName="g")
    await logs.do("CreateLogStream", logGroupName="g", logStreamName="s")

    async def get(**members):
        return await logs.do("GetLogEvents", logGroupName="g", logStreamName="s", **members)

    return get


def messages(answer):
    return [event["message"] for event in answer["events"]]


async def test_events_are_read_from_the_head_until_the_token_stays_the_same(logs, stream):
    await logs.put("g", "s", *((n, f"{n}") for n in range(5)))
    first = await stream(startFromHead=True, limit=2)
    assert messages(first) == ["0", "1"]
    second = await stream(startFromHead=True, limit=2, nextToken=first["nextForwardToken"])
    third = await stream(startFromHead=True, limit=2, nextToken=second["nextForwardToken"])
    assert (messages(second), messages(third)) == (["2", "3"], ["4"])
    end = await stream(startFromHead=True, limit=2, nextToken=third["nextForwardToken"])
    assert (messages(end), end["nextForwardToken"]) == ([], third["nextForwardToken"])
    await logs.put("g", "s", (9, "later"))
    assert messages(await stream(nextToken=end["nextForwardToken"])) == ["later"]
    back = await stream(limit=2, nextToken=third["nextBackwardToken"])
    assert messages(back) == ["2", "3"]


async def test_without_a_token_the_latest_events_come_in_order_of_time(logs, stream):
    await logs.put("g", "s", *((n, f"{n}") for n in range(5)))
    last = await stream(limit=2)
    assert messages(last) == ["3", "4"]
    middle = await stream(limit=2, nextToken=last["nextBackwardToken"])
    first = await stream(limit=2, nextToken=middle["nextBackwardToken"])
    assert (messages(middle), messages(first)) == (["1", "2"], ["0"])
    end = await stream(limit=2, nextToken=first["nextBackwardToken"])
    assert (messages(end), end["nextBackwardToken"]) == ([], first["nextBackwardToken"])
    assert messages(await stream(limit=2, nextToken=first["nextForwardToken"])) == ["1", "2"]


async def test_an_empty_stream_has_tokens_that_go_on_when_events_come(logs, stream):
    empty = await stream(startFromHead=True)
    assert empty["events"] == []
    assert (empty["nextForwardToken"], empty["nextBackwardToken"]) == (f"f/{0:056d}/s", f"b/{0:056d}/s")
    await logs.put("g", "s", (0, "first"))
    assert messages(await stream(nextToken=empty["nextForwardToken"])) == ["first"]


async def test_a_time_range_includes_its_start_and_excludes_its_end(logs, stream):
    await logs.put("g", "s", *((n, f"{n}") for n in range(5)))
    now = logs.now_ms
    assert messages(await stream(startTime=now + 1, endTime=now + 3)) == ["1", "2"]
    found = await logs.do("FilterLogEvents", logGroupName="g", startTime=now + 1, endTime=now + 3)
    assert messages(found) == ["1", "2", "3"]  # here the end belongs to the range
    assert messages(await stream(startTime=now + 3, endTime=now + 1)) == []


async def test_an_event_is_answered_with_its_times(logs, stream):
    await logs.put("g", "s", (-5, "ünï"))
    event = {"timestamp": logs.now_ms - 5, "message": "ünï", "ingestionTime": logs.now_ms}
    assert (await stream())["events"] == [event]
    (found,) = (await logs.do("FilterLogEvents", logGroupName="g"))["events"]
    # Recorded from AWS: 56 digits, the timestamp times 2**144 and more.
    assert int(found["eventId"]) >> 144 == event["timestamp"]
    assert len(found.pop("eventId")) == 56
    assert found == {"logStreamName": "s", **event}


@pytest.mark.parametrize("token", ["x", "f/1/s", "f/" + "1" * 56, "a/" + "1" * 56 + "/s", "f/" + "x" * 56 + "/s"])
async def test_a_token_that_was_never_given_is_refused(logs, stream, token):
    for read in (stream(nextToken=token), logs.do("FilterLogEvents", logGroupName="g", nextToken=token)):
        with pytest.raises(InvalidParameter, match=r"^The specified nextToken is invalid\.$"):
            await read


async def test_batches_out_of_order_are_read_in_order(logs, stream):
    for at in (5_000_000, 0, 3_600_000, 20, 10):
        await logs.put("g", "s", (at, f"{at}"), (at + 1, f"{at + 1}"))
    expected = ["0", "1", "10", "11", "20", "21", "3600000", "3600001", "5000000", "5000001"]
    assert messages(await stream()) == expected
    for limit in (1, 3):
        seen, token = [], {}
        while True:
            answer = await stream(startFromHead=True, limit=limit, **token)
            if not answer["events"]:
                break
            seen += messages(answer)
            token = {"nextToken": answer["nextForwardToken"]}
        assert seen == expected


async def test_a_page_is_full_at_a_megabyte(logs, stream):
    for n in range(3):
        await logs.put("g", "s", (n, f"{n}" * 600_000))
    first = await stream(startFromHead=True)
    assert [event["message"][0] for event in first["events"]] == ["0"]
    second = await stream(startFromHead=True, nextToken=first["nextForwardToken"])
    assert [event["message"][0] for event in second["events"]] == ["1"]


async def test_streams_of_a_group_are_interleaved_and_paged(logs):
    await logs.do("CreateLogGroup", logGroupName="g")
    for name in ("a", "b", "ab"):
        await logs.do("CreateLogStream", logGroupName="g", logStreamName=name)
    await logs.put("g", "a", (1, "a1"), (4, "a4"), (5, "a5"))
    await logs.put("g", "b", (2, "b2"), (6, "b6"))
    await logs.put("g", "ab", (3, "ab3"))

    async def walk(**members):
        seen, token = [], {}
        while True:
            answer = await logs.do("FilterLogEvents", logGroupName="g", limit=2, **members, **token)
            assert answer["searchedLogStreams"] == []
            seen += messages(answer)
            if "nextToken" not in answer:
                return seen
            token = {"nextToken": answer["nextToken"]}

    everything = ["a1", "b2", "ab3", "a4", "a5", "b6"]
    assert await walk() == await walk(interleaved=False) == everything
    assert await walk(startFromHead=False, startTime=1_704_067_200_000) == everything[::-1]
    assert await walk(logStreamNamePrefix="a") == ["a1", "ab3", "a4", "a5"]
    assert await walk(logStreamNames=["b", "a", "b"]) == ["a1", "b2", "a4", "a5", "b6"]
    assert await walk(filterPattern="?4 ?6") == ["a4", "b6"]


async def test_filters_select_events_and_bad_ones_are_refused(logs, stream):
    await logs.put("g", "s", (0, '{"level": "ERROR", "n": 5}'), (1, "ERROR plain"), (2, "fine"))

    async def find(pattern):
        return await logs.do("FilterLogEvents", logGroupName="g", filterPattern=pattern)

    assert len((await find(""))["events"]) == 3
    assert messages(await find('{ $.level = "ERROR" && $.n > 4 }')) == ['{"level": "ERROR", "n": 5}']
    assert messages(await find("ERROR -level")) == ["ERROR plain"]
    assert messages(await find("[w=ERROR, x]")) == ["ERROR plain"]
    with pytest.raises(InvalidFilterPattern, match=r"^Invalid filter pattern: Invalid character\(s\) in term"):
        await find("a@b")


async def test_what_cannot_be_asked_together_is_refused(logs, stream):
    with pytest.raises(InvalidParameter):
        await logs.do("FilterLogEvents", logGroupName="g", logStreamNames=["s"], logStreamNamePrefix="s")
    with pytest.raises(InvalidParameter):
        await logs.do("FilterLogEvents", logGroupName="g", startFromHead=False)

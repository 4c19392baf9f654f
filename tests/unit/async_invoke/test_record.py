"""What destinations and dead-letter targets are told, compared with what was recorded from AWS."""

import json
import re
from datetime import UTC, datetime

from lambent.async_invoke.events import QueuedEvent, Response
from lambent.async_invoke.record import dead_letter_attributes, object_key, render_record
from lambent.async_invoke.retry import Condition
from lambent.model.ids import RequestId, Scope

AT = datetime(2019, 11, 14, 18, 16, 5, 568_900, tzinfo=UTC)
QUEUE, TOPIC = "arn:aws:sqs:us-east-1:111111111111:q", "arn:aws:sns:us-east-1:111111111111:t"
FAILED = Response(
    payload=b'{"errorMessage": "Test exception (this is intentional)", "errorType": "Exception"}',
    executed_version="$LATEST",
    function_error="Unhandled",
)


def event(**changes):
    values = {"payload": b'{"raise_error": 1}', "accepted_at": AT, "qualifier": None, "failed_tries": 0}
    return QueuedEvent(
        request_id=RequestId("e4b46cbf-b738-47a8-9de3-b39eec4ad8ba"),
        scope=Scope("111111111111", "us-east-1"), name="fn", **(values | changes),
    )  # fmt: skip


def record(*args, destination=QUEUE):
    return json.loads(render_record(*args, destination, AT))


def test_a_record_of_retries_exhausted_is_as_recorded():
    # Recorded from AWS (2025-11): test_assess_lambda_destination_invocation[payload1].
    assert record(event(failed_tries=1), Condition.RETRIES_EXHAUSTED, FAILED) == {
        "version": "1.0",
        "timestamp": "2019-11-14T18:16:05.568Z",
        "requestContext": {
            "requestId": "e4b46cbf-b738-47a8-9de3-b39eec4ad8ba",
            "functionArn": "arn:aws:lambda:us-east-1:111111111111:function:fn:$LATEST",
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 1,
        },
        "requestPayload": {"raise_error": 1},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "responsePayload": {"errorMessage": "Test exception (this is intentional)", "errorType": "Exception"},
    }


def test_a_record_of_success_has_no_function_error_and_counts_the_try_that_succeeded():
    told = record(event(failed_tries=2), Condition.SUCCESS, Response(payload=b"[1]", executed_version="7"))
    assert told["responseContext"] == {"statusCode": 200, "executedVersion": "7"}
    assert (told["requestContext"]["approximateInvokeCount"], told["responsePayload"]) == (3, [1])


def test_a_record_without_any_try_has_no_response():
    # Recorded from AWS: test_reserved_concurrency.
    told = record(event(qualifier="live"), Condition.ZERO_CONCURRENCY, None)
    assert told["requestContext"]["approximateInvokeCount"] == 0
    assert told["requestContext"]["functionArn"].endswith(":fn:live")
    assert told.keys() == {"version", "timestamp", "requestContext", "requestPayload"}


def test_an_answer_that_is_no_json_is_told_as_text():
    told = record(event(), Condition.SUCCESS, Response(payload=b"<p>\xff", executed_version="1"))
    assert told["responsePayload"] == "<p>\ufffd"


def test_a_topic_gets_records_of_at_most_256_kb_without_the_payloads_that_do_not_fit():
    large = Response(payload=b'"%s"' % (b"x" * 300_000), executed_version="1")
    assert "responsePayload" in record(event(), Condition.SUCCESS, large)
    told = record(event(), Condition.SUCCESS, large, destination=TOPIC)
    assert ("responsePayload" in told, "requestPayload" in told) == (False, True)
    told = record(event(payload=large.payload), Condition.SUCCESS, large, destination=TOPIC)
    assert ("responsePayload" in told, "requestPayload" in told) == (False, False)


def test_a_record_that_no_queue_would_keep_loses_the_answer():
    huge = Response(payload=b'"%s"' % (b"x" * 3_000_000), executed_version="1")
    assert "responsePayload" not in record(event(), Condition.SUCCESS, huge)


def test_a_dead_letter_has_the_attributes_that_aws_gives():
    # Recorded from AWS (2025-11): TestLambdaDLQ::test_dead_letter_queue.
    attributes = {each.name: (each.kind, each.value) for each in dead_letter_attributes(event(), FAILED)}
    assert attributes == {
        "RequestID": ("String", "e4b46cbf-b738-47a8-9de3-b39eec4ad8ba"),
        "ErrorCode": ("Number", "200"),
        "ErrorMessage": ("String", "Test exception (this is intentional)"),
    }


def test_an_error_message_is_cut_at_a_kilobyte_and_never_within_a_character():
    long = Response(payload=json.dumps({"errorMessage": "ä" * 2000}).encode(), executed_version="1")
    assert dead_letter_attributes(event(), long)[2].value == "ä" * 512


def test_an_answer_without_error_message_leaves_the_attribute_out():
    for payload in (b"null", b"nothing", b'{"errorMessage": 5}'):
        names = [each.name for each in dead_letter_attributes(event(), Response(payload=payload, executed_version="1"))]
        assert names == ["RequestID", "ErrorCode"]


def test_keys_of_objects_are_those_of_aws():
    pattern = r"aws/lambda/async/fn/2019/11/14/2019-11-14T18\.16\.05-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    assert re.fullmatch(pattern, object_key("fn", AT))

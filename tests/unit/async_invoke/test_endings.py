"""Events that end: what is brought to whom, and what happens when a peer is away or refuses."""

import asyncio
import json

import pytest

from lambent.model.errors import NeighbourRefusal, Throttled, ThrottleReason

from .conftest import FAILURE, SUCCESS, settle

pytestmark = pytest.mark.anyio
QUEUE = "arn:aws:sqs:eu-west-1:111111111111:q"
TOPIC = "arn:aws:sns:us-east-1:111111111111:t"
BUS = "arn:aws:events:us-east-1:111111111111:event-bus/b"
BUCKET = "arn:aws:s3:::bucket"
OTHER = "arn:aws:lambda:us-east-1:111111111111:function:other:live"
AWAY = NeighbourRefusal("ServiceUnavailable", "no answer", is_passing=True)
REFUSED = NeighbourRefusal("AWS.SimpleQueueService.NonExistentQueue", "no queue")


async def run(scene, seconds=1.0, **event):
    async with scene.running():
        await scene.accept(**event)
        await scene.advance(seconds)
    assert await scene.store.queue.names("async/") == []


async def test_a_queue_gets_the_record_of_a_success_with_the_trace(scene):
    await scene.configure(on_success=QUEUE, on_failure=BUCKET)
    await run(scene, n=5)
    (asked, sent) = scene.neighbours.calls
    assert asked[:2] == ("sqs", "get_queue_url")
    assert (sent[1], sent[2].region, sent[2].account_id) == ("send_message", "eu-west-1", "111111111111")
    assert json.loads(sent[3]["MessageBody"])["requestContext"]["condition"] == "Success"
    assert sent[3]["MessageSystemAttributes"]["AWSTraceHeader"]["StringValue"].startswith("Root=")


async def test_the_address_of_a_queue_is_asked_once(scene):
    await scene.configure(on_success=QUEUE)
    async with scene.running():
        for n in range(5):
            await scene.accept(n=n)
            await settle()
    assert [call[1] for call in scene.neighbours.calls].count("get_queue_url") == 1


async def test_a_failure_is_told_to_destination_and_dead_letter_queue_each(scene):
    scene.road.answers = [FAILURE]
    await scene.configure(on_failure=BUCKET, max_retries=0)
    await scene.store_function(dead_letter_target=TOPIC)
    await run(scene, payload=b'{"a": 1}')
    told = {call[1]: call[3] for call in scene.neighbours.calls}
    assert told["put_object"]["Bucket"] == "bucket"
    assert json.loads(told["put_object"]["Body"])["requestContext"]["condition"] == "RetriesExhausted"
    assert (told["publish"]["TopicArn"], told["publish"]["Message"]) == (TOPIC, '{"a": 1}')
    assert told["publish"]["MessageAttributes"]["ErrorCode"] == {"DataType": "Number", "StringValue": "200"}


async def test_a_bus_gets_an_event_as_recorded(scene):
    await scene.configure(on_success=BUS)
    await run(scene)
    (entry,) = scene.neighbours.calls[0][3]["Entries"]
    assert (entry["Source"], entry["EventBusName"]) == ("lambda", BUS)
    assert entry["DetailType"] == "Lambda Function Invocation Result - Success"
    assert entry["Resources"] == [BUS, "arn:aws:lambda:us-east-1:111111111111:function:fn:$LATEST"]


async def test_another_function_gets_the_record_as_an_event_of_its_own(scene):
    scene.add_function("other")
    await scene.configure(on_success=OTHER)
    await run(scene)
    first, second = scene.road.calls
    assert (second.target.name, second.target.qualifier) == ("other", "live")
    assert json.loads(second.payload)["requestContext"]["requestId"] == first.request_id != second.request_id


async def test_an_event_without_a_try_is_told_too(scene):
    scene.add_function("fn", reserved=0)
    await scene.configure(on_failure=QUEUE)
    await run(scene)
    told = json.loads(scene.neighbours.calls[1][3]["MessageBody"])
    assert told["requestContext"]["condition"] == "ZeroReservedConcurrency"


async def test_an_event_that_grew_too_old_is_told_with_its_last_answer(scene):
    scene.road.answers = [FAILURE, Throttled(ThrottleReason.CONCURRENT)]
    await scene.configure(on_failure=QUEUE)
    await run(scene, seconds=22_000)
    told = json.loads(scene.neighbours.calls[1][3]["MessageBody"])
    assert (told["requestContext"]["condition"], told["requestContext"]["approximateInvokeCount"]) == (
        "EventAgeExceeded",
        1,
    )
    assert told["responsePayload"]["errorMessage"] == "boom"


async def test_a_peer_that_is_away_is_asked_again_until_it_is_back(scene):
    await scene.configure(on_success=BUCKET)
    scene.neighbours.refusals = [AWAY, AWAY, AWAY]
    await run(scene, seconds=60)
    assert len(scene.neighbours.calls) == 4
    assert len({call[3]["Key"] for call in scene.neighbours.calls}) == 1
    assert scene.metrics.of("DestinationDeliveryFailures") == []


async def test_a_peer_that_is_away_for_good_is_given_up_after_six_hours_and_counted(scene):
    await scene.configure(on_success=BUCKET)
    scene.neighbours.refusals = [AWAY] * 1000
    await run(scene, seconds=22_000)
    assert scene.metrics.of("DestinationDeliveryFailures") == [1]
    assert await scene.store.queue.names("") == []


async def test_a_peer_that_refuses_is_believed_and_counted(scene):
    scene.road.answers = [FAILURE]
    await scene.configure(max_retries=0)
    await scene.store_function(dead_letter_target=QUEUE)
    scene.neighbours.refusals = [REFUSED]
    await run(scene)
    assert scene.metrics.of("DeadLetterErrors") == [1]
    assert len(scene.neighbours.calls) == 1


async def test_a_function_that_is_gone_as_a_destination_is_counted(scene):
    await scene.configure(on_success=OTHER)
    await run(scene)
    assert scene.metrics.of("DestinationDeliveryFailures") == [1]


async def test_a_slow_peer_does_not_hold_up_the_function(scene):
    never = asyncio.Event()

    async def call(service, operation, scope, parameters):
        await never.wait()

    scene.neighbours.call = call
    await scene.configure(on_success=BUCKET)
    async with scene.running():
        for n in range(50):
            await scene.accept(n=n)
            await settle()
        assert scene.tries == 50


async def test_a_configuration_of_a_deleted_namesake_does_not_count(scene):
    await scene.configure(on_success=BUCKET)
    await scene.store_function(first_generation=2)
    scene.road.answers = [SUCCESS]
    await run(scene)
    assert scene.neighbours.calls == []

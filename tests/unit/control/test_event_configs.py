"""Event invoke configurations and dead-letter targets, beyond what was recorded from AWS."""

import pytest

pytestmark = pytest.mark.anyio

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:f"
QUEUE = "arn:aws:sqs:us-east-1:123456789012:q"
TOPIC = "arn:aws:sns:us-east-1:123456789012:t"
BUS = "arn:aws:events:us-east-1:123456789012:event-bus/b"
INVALID = "The provided destination config DestinationConfig({}) is invalid."


@pytest.fixture
async def put(world):
    await world.create("f")

    async def run(operation="PutFunctionEventInvokeConfig", **destinations):
        config = {f"On{name.title()}": {"Destination": arn} for name, arn in destinations.items()}
        return await world.call(operation, FunctionName="f", DestinationConfig=config)

    async def refusal(**destinations):
        config = {f"On{name.title()}": {"Destination": arn} for name, arn in destinations.items()}
        return await world.refusal("PutFunctionEventInvokeConfig", FunctionName="f", DestinationConfig=config)

    run.refusal = refusal
    return run


async def test_destinations_are_kept_one_by_one(put):
    await put(success=QUEUE, failure="arn:aws:s3:::bucket")
    answer = await put("UpdateFunctionEventInvokeConfig", failure=TOPIC)
    assert answer["DestinationConfig"] == {"OnSuccess": {"Destination": QUEUE}, "OnFailure": {"Destination": TOPIC}}
    answer = await put("UpdateFunctionEventInvokeConfig", success="")
    assert answer["DestinationConfig"] == {"OnSuccess": {}, "OnFailure": {"Destination": TOPIC}}
    assert (await put(failure=QUEUE))["DestinationConfig"]["OnSuccess"] == {}


async def test_a_bucket_is_no_destination_on_success(put):
    bucket = "arn:aws:s3:::bucket"
    code, text = await put.refusal(success=bucket, failure=QUEUE)
    assert code == "InvalidParameterValueException"
    assert text == INVALID.format(
        f"onSuccess=OnSuccess(destination={bucket}), onFailure=OnFailure(destination={QUEUE})"
    )


@pytest.mark.parametrize("arn", [f"{QUEUE}.fifo", f"{TOPIC}.fifo", "kafka://topic"])
async def test_ordered_queues_and_topics_are_no_destinations(put, arn):
    assert (await put.refusal(failure=arn))[1] == INVALID.format(
        f"onSuccess=null, onFailure=OnFailure(destination={arn})"
    )


async def test_a_service_that_is_nowhere_is_refused_in_words_and_nothing_is_kept(put, world):
    assert (await put.refusal(failure=BUS))[1] == f"{BUS} cannot be reached: it is off"
    assert (await world.refusal("GetFunctionEventInvokeConfig", FunctionName="f"))[0] == "ResourceNotFoundException"


@pytest.mark.parametrize("arn", [f"{FUNCTION}x", f"{FUNCTION}x:1", FUNCTION.replace("us-east-1", "eu-west-1") + "y"])
async def test_a_function_that_is_not_there_is_no_destination(put, arn):
    assert (await put.refusal(success=arn))[1] == f"The destination ARN {arn} is invalid."


async def test_a_version_of_the_function_itself_is_no_destination_either(put):
    text = "You can't specify the function as a destination for itself."
    assert (await put.refusal(success=f"{FUNCTION}:$LATEST"))[1] == text


async def test_a_namesake_of_a_deleted_function_has_no_configuration(put, world):
    await put(success=QUEUE)
    await world.settle()
    await world.call("DeleteFunction", FunctionName="f")
    assert (await world.documents.list("spec/event-invoke/")).docs == ()
    await world.create("f")
    assert (await world.refusal("GetFunctionEventInvokeConfig", FunctionName="f"))[0] == "ResourceNotFoundException"
    assert (await world.call("ListFunctionEventInvokeConfigs", FunctionName="f"))["FunctionEventInvokeConfigs"] == []


async def test_configurations_are_listed_page_by_page(put, world):
    await put(success=QUEUE)
    await world.settle()
    for description in ("a", "b"):
        await world.call("UpdateFunctionConfiguration", FunctionName="f", Description=description)
        await world.settle()
        version = (await world.call("PublishVersion", FunctionName="f"))["Version"]
        await world.call("PutFunctionEventInvokeConfig", FunctionName="f", Qualifier=version, MaximumRetryAttempts=1)
    seen, marker = [], {}
    while True:
        page = await world.call("ListFunctionEventInvokeConfigs", FunctionName="f", MaxItems=1, **marker)
        seen += [config["FunctionArn"].rpartition(":")[2] for config in page["FunctionEventInvokeConfigs"]]
        if "NextMarker" not in page:
            break
        marker = {"Marker": page["NextMarker"]}
    assert seen == ["$LATEST", "1", "2"]


async def test_a_dead_letter_target_is_kept_shown_and_taken_away(world):
    assert "DeadLetterConfig" not in await world.create("f")
    await world.settle()
    answer = await world.call("UpdateFunctionConfiguration", FunctionName="f", DeadLetterConfig={"TargetArn": QUEUE})
    assert answer["DeadLetterConfig"] == {"TargetArn": QUEUE}
    await world.settle()
    answer = await world.call("UpdateFunctionConfiguration", FunctionName="f", Timeout=5)
    assert answer["DeadLetterConfig"] == {"TargetArn": QUEUE}
    await world.settle()
    answer = await world.call("UpdateFunctionConfiguration", FunctionName="f", DeadLetterConfig={"TargetArn": ""})
    assert "DeadLetterConfig" not in answer


@pytest.mark.parametrize("arn", [FUNCTION, f"{QUEUE}.fifo", "arn:aws:s3:::bucket"])
async def test_only_standard_queues_and_topics_take_dead_letters(world, arn):
    await world.create("f")
    await world.settle()
    code, text = await world.refusal(
        "UpdateFunctionConfiguration", FunctionName="f", DeadLetterConfig={"TargetArn": arn}
    )
    assert (code, arn in text) == ("InvalidParameterValueException", True)

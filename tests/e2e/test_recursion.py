"""Functions that call themselves until something ends: they are refused, and nobody waits for anybody for ever."""

import pytest

from lambent.testing.process import LambentProcess

from . import aws

TRIES = 4
DEEPER = """
import json
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

def handler(event, context):
    client = boto3.client("lambda", config=Config(retries={"total_max_attempts": 1}))
    try:
        answer = client.invoke(FunctionName=context.function_name, Payload=json.dumps(event + 1))
    except ClientError as error:
        return [event, error.response["Error"]["Code"], error.response["Reason"]]
    return json.loads(answer["Payload"].read())
"""


@pytest.mark.parametrize(
    ("settings", "depth"),
    [
        pytest.param({"concurrency_limit": 3}, 2, id="concurrency"),
        pytest.param({"max_environments": 2}, 1, id="environments"),
    ],
)
def test_a_function_that_calls_itself_without_end_is_throttled_and_its_callers_are_answered(settings, depth, state_dir):
    with LambentProcess(state_dir, settings=settings) as server:
        functions = aws.client("lambda", server.endpoint)
        name = aws.create(functions, DEEPER, Timeout=30, MemorySize=512)
        depths = set()
        for _ in range(TRIES):
            answer = aws.invoke(functions, name, 0)
            assert answer.error is None, answer
            reached, *refusal = answer.payload
            assert refusal == ["TooManyRequestsException", "ConcurrentInvocationLimitExceeded"]
            depths.add(reached)
        # Less deep where one of the call before had its answer, and had not asked for the next event yet.
        assert max(depths) == depth

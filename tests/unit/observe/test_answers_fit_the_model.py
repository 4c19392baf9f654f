"""Every answer has members of the service model only, of its types; every operation is one of the model's."""

import botocore.session
import pytest

pytestmark = pytest.mark.anyio
KINDS = {"string": str, "integer": int, "long": int, "boolean": bool, "list": list, "structure": dict}


@pytest.fixture(scope="module")
def model():
    return botocore.session.Session().get_service_model("logs")


def misfits(shape, value, path):
    """Yield what of ``value`` the shape does not have."""
    if not isinstance(value, KINDS[shape.type_name]):
        yield f"{path}: {value!r} is no {shape.type_name}"
    elif shape.type_name == "list":
        for inner in value:
            yield from misfits(shape.member, inner, f"{path}[]")
    elif shape.type_name == "structure":
        for name, inner in value.items():
            if name not in shape.members:
                yield f"{path}.{name}"
            else:
                yield from misfits(shape.members[name], inner, f"{path}.{name}")
    elif shape.metadata.get("min") and isinstance(value, str) and not value:
        yield f"{path} is empty"


async def test_answers_are_those_of_the_service_model(logs, model):
    group = {"logGroupName": "g"}
    stream = {**group, "logStreamName": "s"}
    event = {"timestamp": logs.now_ms, "message": "m"}
    late = {"timestamp": logs.now_ms + 86_000_000, "message": "m"}
    calls = [
        ("CreateLogGroup", group),
        ("CreateLogStream", stream),
        ("PutLogEvents", {**stream, "logEvents": [event, event, late], "entity": {}}),
        ("PutRetentionPolicy", {**group, "retentionInDays": 30}),
        ("DescribeLogGroups", {}),
        ("DescribeLogStreams", group),
        ("GetLogEvents", stream),
        ("FilterLogEvents", {**group, "limit": 1}),
        ("DeleteRetentionPolicy", group),
        ("DeleteLogStream", stream),
        ("DeleteLogGroup", group),
    ]
    assert {operation for operation, _ in calls} == set(logs.commands)
    for operation, members in calls:
        shape = model.operation_model(operation).output_shape
        answer = await logs.do(operation, **members)
        assert list(misfits(shape, answer, operation)) == [] if shape else answer == {}
        if operation == "FilterLogEvents":
            assert answer["nextToken"]

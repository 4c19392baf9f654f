"""AWS's recorded validation errors, word for word."""

import json
import re
from pathlib import Path

import pytest
from botocore.model import ServiceModel as BotoModel
from botocore.serialize import create_serializer
from botocore.utils import percent_encode_sequence

from lambent.model.errors import ValidationError
from lambent.wire.message import WireRequest
from lambent.wire.service import ServiceCodec
from lambent.wire.service_model import ServiceModel

GOLDEN = json.loads(Path(__file__).with_name("validation_errors.json").read_text())["answers"]
CODEC = ServiceCodec.load("lambda")
BOTO = BotoModel(ServiceModel.load("lambda").raw, "lambda")
# AWS adds runtimes and drops them; which enum values it lists is not held against the model.
SEVERAL = re.compile(r"; (?=Value )")


def as_bytes(value):
    if isinstance(value, dict):
        if "$blob" in value:
            return value["$blob"].encode()
        return {key: as_bytes(each) for key, each in value.items()}
    return value


def as_sent(operation, params):
    serializer = create_serializer("rest-json", include_validation=False)
    serialized = serializer.serialize_to_request(as_bytes(params), BOTO.operation_model(operation))
    query = percent_encode_sequence(serialized["query_string"])
    headers = tuple((name.lower(), str(value)) for name, value in serialized["headers"].items())
    body = serialized["body"]
    body = body.encode() if isinstance(body, str) else body
    return WireRequest(serialized["method"], serialized["url_path"], query, headers, body)


@pytest.mark.parametrize("answer", GOLDEN, ids=lambda answer: f"{answer['operation']}-{answer['recorded']}")
def test_a_request_that_aws_refused_is_refused_in_the_same_words(answer):
    request = as_sent(answer["operation"], answer["params"])
    route = CODEC.route(request)
    with pytest.raises(ValidationError) as refused:
        route.codec.parse(request, route.labels)
    count = len(answer["errors"])
    head, _, rest = refused.value.message.partition(" detected: ")
    assert head == ("1 validation error" if count == 1 else f"{count} validation errors")
    assert sorted(SEVERAL.split(rest)) == answer["errors"]


def test_the_golden_answers_are_there():
    assert len(GOLDEN) > 50

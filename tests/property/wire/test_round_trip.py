"""What botocore's serializer writes we read back equal; what we render botocore's parser reads back equal."""

import io
import re
from urllib.parse import urlencode

import pytest
from botocore.awsrequest import HeadersDict
from botocore.model import ServiceModel as BotoModel
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from botocore.utils import percent_encode_sequence
from hypothesis import given, settings
from hypothesis import strategies as st

from lambent.wire.message import WireRequest
from lambent.wire.service import ServiceCodec
from lambent.wire.service_model import ServiceModel

CODECS = {service: ServiceCodec.load(service) for service in ("lambda", "logs", "sts", "sns")}
MODELS = {service: ServiceModel.load(service) for service in CODECS}
BOTO = {service: BotoModel(model.raw, service) for service, model in MODELS.items()}
OPERATIONS = [(service, name) for service, codec in CODECS.items() for name in codec.operation_names]
SEEDS = st.integers(0, 1 << 32)
FEW = settings(max_examples=20, deadline=None)


def as_sent(serialized):
    """The request that botocore would send."""
    path, _, query = serialized["url_path"].partition("?")
    query = "&".join(filter(None, [query, percent_encode_sequence(serialized["query_string"])]))
    body = serialized["body"]
    body = urlencode(body) if isinstance(body, dict) else body
    headers = tuple((name.lower(), str(value)) for name, value in serialized["headers"].items())
    body = body.encode() if isinstance(body, str) else body
    return WireRequest(serialized["method"], path, query, headers, body or b"")


def without_empty_payload(members, shape):
    """No body says nothing of an optional payload that is empty."""
    payload = shape.get("payload")
    is_optional = payload not in shape.get("required", ())
    return {n: v for n, v in members.items() if not (n == payload and is_optional and not v)}


def as_written(value, model):
    """``value`` as an answer can hold it: no XML document has these characters, not even escaped."""
    if model.protocols[0] != "query":
        return value
    if isinstance(value, str):
        return re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f]", "\ufffd", value)
    if isinstance(value, list):
        return [as_written(each, model) for each in value]
    if isinstance(value, dict):
        return {as_written(name, model): as_written(each, model) for name, each in value.items()}
    return value


@pytest.mark.parametrize(("service", "name"), OPERATIONS)
@given(seed=SEEDS)
@FEW
def test_what_botocore_serialises_is_routed_to_its_operation_and_read_back_equal(service, name, seed, valid_values):
    model, codec = MODELS[service], CODECS[service]
    side = model.input_shape(name)
    shape = side[1] if side else {"members": {}}
    params = valid_values(model, seed).members(shape)
    serializer = create_serializer(model.protocols[0], include_validation=True)
    request = as_sent(serializer.serialize_to_request(params, BOTO[service].operation_model(name)))
    route = codec.route(request)
    assert route is not None
    assert route.codec.name == name
    members = route.codec.parse(request, route.labels)
    assert without_empty_payload(members, shape) == without_empty_payload(params, shape)


@pytest.mark.parametrize(("service", "name"), OPERATIONS)
@given(seed=SEEDS)
@FEW
def test_what_we_render_botocore_reads_back_equal(service, name, seed, valid_values):
    model = MODELS[service]
    side = model.output_shape(name)
    shape = side[1] if side else {"members": {}}
    result = as_written(valid_values(model, seed).members(shape), model)
    for member, ref in shape["members"].items():
        if ref.get("location") == "statusCode":
            result[member] = 200 + seed % 100
    response = CODECS[service].operation(name).render(result)
    if any(model.shape(ref["shape"]).get("eventstream") for ref in shape["members"].values()):
        return  # the body of an event stream is not written here
    boto_shape = BOTO[service].operation_model(name).output_shape
    raw = {"status_code": response.status, "headers": HeadersDict(response.headers), "body": response.body}
    if boto_shape is not None and boto_shape.serialization.get("payload"):
        is_blob = boto_shape.members[boto_shape.serialization["payload"]].type_name == "blob"
        raw["body"] = io.BytesIO(response.body) if is_blob else response.body
    parsed = create_parser(model.protocols[0]).parse(raw, boto_shape)
    parsed.pop("ResponseMetadata")
    parsed = {name: value.read() if hasattr(value, "read") else value for name, value in parsed.items()}
    assert without_empty_payload(parsed, shape) == without_empty_payload(result, shape)

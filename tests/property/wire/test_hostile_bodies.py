"""Whatever a caller sends, reading it ends in members or in an error that is the caller's."""

import contextlib
import json
import random
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambent.model.errors import CallerError
from lambent.wire.message import WireRequest
from lambent.wire.service import ServiceCodec
from lambent.wire.service_model import ServiceModel

CODECS = {service: ServiceCodec.load(service) for service in ("lambda", "logs", "sts")}
MODELS = {service: ServiceModel.load(service) for service in CODECS}
OPERATIONS = [(service, name) for service, codec in CODECS.items() for name in codec.operation_names]
SCALARS = [
    None,
    True,
    False,
    0,
    -1,
    3.5,
    1e308,
    1 << 70,
    "",
    "x",
    "NaN",
    "\x00",
    "ä\U0001f30d",
    "a" * 400,
    "2024-01-01",
]


def twist(draw, value):
    """``value`` with something in it replaced by what does not belong there."""
    if draw.random() < 0.2:
        return draw.choice([*SCALARS, [], {}, [[]], [None], {"": None}, {"a": {"b": []}}])
    if isinstance(value, dict):
        return {key: twist(draw, each) for key, each in value.items()}
    return [twist(draw, each) for each in value] if isinstance(value, list) else value


def as_json(value):
    return value.hex() if isinstance(value, bytes) else str(value)


@given(st.text("ab.01=&%Action\x00ä[]", max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_form_is_read_or_refused(form):
    body = f"Action=AssumeRole&RoleArn.{form}&Tags.member.{form}&Tags.{form}".encode()
    with contextlib.suppress(CallerError):
        CODECS["sts"].operation("AssumeRole").parse(WireRequest("POST", "/", "", (), body), {})


@pytest.mark.parametrize(("service", "name"), OPERATIONS)
@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=12, deadline=None)
def test_a_twisted_request_is_read_or_refused(service, name, seed, valid_values):
    draw, codec, model = random.Random(seed), CODECS[service], MODELS[service]
    side = model.input_shape(name)
    shape = side[1] if side else {"members": {}}
    members = twist(draw, valid_values(model, seed).members(shape))
    labels = {ref.get("locationName", n): str(draw.choice(SCALARS)) for n, ref in shape["members"].items()}
    body = json.dumps(members, default=as_json).encode()
    if draw.random() < 0.2:
        at = draw.randrange(len(body))
        body = body[:at] + draw.randbytes(2) + body[at + 2 :]
    query = "&".join(f"{quote(key)}={quote(str(draw.choice(SCALARS)))}" for key in labels)
    headers = tuple((f"x-amz-{key.lower()}", str(draw.choice(SCALARS))) for key in labels)
    with contextlib.suppress(CallerError):
        assert isinstance(codec.operation(name).parse(WireRequest("POST", "/", query, headers, body), labels), dict)

"""The event, the client context and the trace header of an Invoke."""

import base64
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.frontend.payload import parse_client_context, parse_event, parse_trace_header
from lambent.model.errors import InvalidRequestContent, ValidationError

REDACTED = "[Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: {}, column: {}]"


@pytest.mark.parametrize("body", [b"{}", b" [1, 2.5e3, null] ", b'"\xc3\xa9"', b"3", b'"\\ud800"', b"1e999"])
def test_event_of_any_json_value_passes_unchanged(body):
    assert parse_event(body) is body


def test_no_event_is_an_empty_object():
    assert parse_event(b"") == b"{}"


# Recorded from AWS (2025-11): Invoke with these payloads.
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            b"\x99\x82",
            "Unexpected character ((CTRL-CHAR, code 153)): expected a valid value "
            "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')\n at " + REDACTED.format(1, 1),
        ),
        (b"n\x87r\x9e\xe9\xb5\xd7I\xee\x9bmt", "Invalid UTF-8 start byte 0x87\n at " + REDACTED.format(1, 3)),
        # Not recorded: the same fault inside of a string.
        (b'{"a": "\xff"}', "Invalid UTF-8 start byte 0xff\n at " + REDACTED.format(1, 9)),
    ],
)
def test_event_that_is_no_json_is_refused_in_the_words_of_aws(body, reason):
    with pytest.raises(InvalidRequestContent) as refused:
        parse_event(body)
    prefix = "Could not parse request body into json: Could not parse payload into json: "
    assert refused.value.message == prefix + reason


@given(st.binary(max_size=40) | st.text(max_size=20).map(str.encode))
def test_event_is_taken_only_if_a_strict_parser_takes_it(body):
    try:
        parse_event(body)
    except InvalidRequestContent:
        return
    if body:
        json.loads(body.decode(), parse_constant=lambda name: pytest.fail(f"{name} passed"))


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda c: st.lists(c, max_size=3),
    )
)
def test_every_json_document_is_taken(value):
    text = json.dumps(value).encode()
    assert parse_event(text) == text


def test_client_context_is_handed_on_as_the_json_that_it_encodes():
    text = '{"custom": {"foo": "bär"}}'
    assert parse_client_context(base64.b64encode(text.encode()).decode()) == text


@pytest.mark.parametrize(
    "header", ["string", "e30", "!!", base64.b64encode(b"[1]").decode(), base64.b64encode(b"{").decode(), ""]
)
def test_client_context_that_is_no_base64_of_a_json_object_is_refused(header):
    with pytest.raises(InvalidRequestContent, match=r"^Client context must be a valid Base64-encoded JSON object\.$"):
        parse_client_context(header)


def test_client_context_is_bounded():
    fitting = base64.b64encode(b'{"a":"' + b"x" * 2675 + b'"}').decode()
    assert len(fitting) == 3580
    parse_client_context(fitting)
    with pytest.raises(ValidationError, match="length less than or equal to 3583"):
        parse_client_context(base64.b64encode(b'{"a":"' + b"x" * 2679 + b'"}').decode())


@pytest.mark.parametrize(
    "header",
    [
        "Root=1-5759e988-bd862e3fe1be46a994272793",
        "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=1:ead6d511:0",
        "Self=1-67891234-12456789abcdef012345678;Root=1-5759e988-bd862e3fe1be46a994272793",
    ],
)
def test_trace_header_of_the_caller_is_kept(header):
    assert parse_trace_header(header, 0.0) == header


@pytest.mark.parametrize("header", [None, "", "x", "Root=1-zz", "Root=1-5759e988-bd862e3fe1be46a994272793;\x7f"])
def test_trace_header_without_a_root_is_replaced_by_a_new_unsampled_one(header):
    made = parse_trace_header(header, 0x5759E988 + 0.9)
    assert re.fullmatch(r"Root=1-5759e988-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=0", made)
    assert made != parse_trace_header(header, 0x5759E988)

"""The protocol query: forms in, XML out, errors under the names of the query services."""

import xml.etree.ElementTree as ET
from urllib.parse import urlencode

import pytest

from lambent.model.errors import AccessDenied, CallerError, HostError, InvalidParameterValue, ValidationError
from lambent.wire.message import WireRequest
from lambent.wire.query_values import PARAMETER_LIMIT, MalformedQueryString
from lambent.wire.service import ServiceCodec

STS = ServiceCodec.load("sts")
SNS = ServiceCodec.load("sns")
NAMESPACE = "{https://sts.amazonaws.com/doc/2011-06-15/}"


class Coded(CallerError):
    """An error that access raises: wire knows its code alone."""

    def __init__(self, code):
        super().__init__("words", kind=None)
        self.code = code


def form(_query="", **parameters):
    return WireRequest("POST", "/", _query, (), urlencode({"Version": "2011-06-15", **parameters}).encode())


def parse(codec, **parameters):
    request = form(**parameters)
    route = codec.route(request)
    return route.codec.parse(request, route.labels)


def error_of(error, codec=STS):
    answer = codec.render_error(error, "the-id")
    root = ET.fromstring(answer.body)
    told = {each.tag.removeprefix(NAMESPACE): each.text for each in root[0]}
    assert (root.tag, root[1].text) == (f"{NAMESPACE}ErrorResponse", "the-id")
    assert answer.headers == (("content-type", "text/xml"),)
    return answer.status, told["Type"], told["Code"], told["Message"]


def test_an_action_is_found_in_the_form_and_in_the_query_string():
    assert STS.route(form(Action="GetCallerIdentity")).codec.name == "GetCallerIdentity"
    by_query = WireRequest("GET", "/", "Action=GetCallerIdentity&Version=2011-06-15")
    assert STS.route(by_query).codec.name == "GetCallerIdentity"


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (
            form(Action="Nonsense"),
            (400, "Sender", "InvalidAction", "Could not find operation Nonsense for version 2011-06-15"),
        ),
        (
            form(),
            (400, "Sender", "MissingAction", "The request is missing an action or a required parameter."),
        ),
    ],
)
def test_who_names_no_operation_is_told(request_, told):
    assert STS.route(request_) is None
    assert error_of(STS.unknown_operation(request_)) == told


def test_lists_structures_and_numbers_are_read_in_their_order_and_gaps_close():
    members = parse(
        STS,
        Action="AssumeRole",
        RoleArn="arn:aws:iam::123456789012:role/r",
        RoleSessionName="session",
        DurationSeconds="900",
        **{"Tags.member.10.Key": "c", "Tags.member.10.Value": "3", "Tags.member.2.Key": "b", "Tags.member.2.Value": ""},
        **{"Tags.member.x.Key": "no number", "Tags.other.1.Key": "no member", "TransitiveTagKeys": "", "Nothing": "x"},
    )
    assert members["Tags"] == [{"Key": "b", "Value": ""}, {"Key": "c", "Value": "3"}]
    assert (members["DurationSeconds"], members["TransitiveTagKeys"]) == (900, [])
    assert "Nothing" not in members


def test_maps_are_read_by_entries():
    members = parse(
        SNS,
        Action="CreateTopic",
        Name="t",
        **{"Attributes.entry.1.key": "FifoTopic", "Attributes.entry.1.value": "true"},
    )
    assert members["Attributes"] == {"FifoTopic": "true"}


@pytest.mark.parametrize("text", ["", "x", "1.5", "9" * 30, "-", "\u0663"])
def test_what_is_no_number_is_malformed_input(text):
    with pytest.raises(CallerError) as refused:
        parse(STS, Action="GetSessionToken", DurationSeconds=text)
    assert error_of(refused.value)[:3] == (400, "Sender", "MalformedInput")


def test_a_broken_constraint_has_the_words_of_the_other_protocols():
    with pytest.raises(ValidationError) as refused:
        parse(STS, Action="GetSessionToken", DurationSeconds="1")
    assert error_of(refused.value) == (
        400,
        "Sender",
        "ValidationError",
        "1 validation error detected: Value '1' at 'durationSeconds' failed to satisfy constraint: "
        "Member must have value greater than or equal to 900",
    )


def test_more_parameters_than_anybody_sends_are_refused_and_deep_names_are_of_no_member():
    many = WireRequest("POST", "/", "", (), b"Action=GetCallerIdentity" + b"&a=1" * PARAMETER_LIMIT)
    assert STS.route(many) is None
    with pytest.raises(MalformedQueryString):
        STS.unknown_operation(many)
    assert parse(STS, Action="GetCallerIdentity", **{"a." * 1_000_000 + "b": "1"}) == {}


def test_an_answer_is_wrapped_and_tells_the_requests_id():
    answer = STS.operation("GetCallerIdentity").render({"Account": "1", "Arn": "<&>\r\x00"}, "the-id")
    assert answer.status == 200
    assert answer.body.decode() == (
        '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
        "<Account>1</Account><Arn>&lt;&amp;&gt;&#xD;\ufffd</Arn></GetCallerIdentityResult><ResponseMetadata>"
        "<RequestId>the-id</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
    )
    with pytest.raises(TypeError):
        STS.operation("GetCallerIdentity").render({"Nothing": "1"}, "")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            Coded("MissingAuthenticationTokenException"),
            (403, "Sender", "MissingAuthenticationToken", "Request is missing Authentication Token"),
        ),
        (Coded("UnrecognizedClientException"), (403, "Sender", "InvalidClientTokenId", "words")),
        (Coded("InvalidSignatureException"), (403, "Sender", "SignatureDoesNotMatch", "words")),
        (Coded("IncompleteSignatureException"), (400, "Sender", "IncompleteSignature", "words")),
        (Coded("ExpiredTokenException"), (403, "Sender", "ExpiredToken", "words")),
        (Coded("MalformedPolicyDocumentException"), (400, "Sender", "MalformedPolicyDocument", "words")),
        (Coded("RegionDisabledException"), (403, "Sender", "RegionDisabledException", "words")),
        (AccessDenied("no"), (403, "Sender", "AccessDenied", "no")),
        (InvalidParameterValue("no"), (400, "Sender", "InvalidParameterValue", "no")),
        (
            HostError("secret"),
            (500, "Receiver", "InternalFailure", "An error occurred and the request cannot be processed."),
        ),
    ],
)
def test_errors_have_the_names_of_the_query_services(error, told):
    assert error_of(error) == told

"""Every way in which a signature can be wrong, and AWS's words for it.

The signer here is a second one, from the published steps alone.
"""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from lambent.access.canonical import canonical_headers, canonical_path, canonical_query
from lambent.access.credentials import Credential
from lambent.access.errors import (
    AuthenticationError,
    ExpiredToken,
    IncompleteSignature,
    InvalidSignature,
    MissingAuthenticationToken,
    UnrecognizedClient,
)
from lambent.access.sigv4 import SignatureVerifier
from lambent.http.application import RequestHead
from lambent.testing.clock import FakeClock

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
STAMP = "20261123T120000Z"
ARN = "arn:aws:iam::123456789012:user/u"
HELD = {
    "AKID": Credential(access_key="AKID", secret="s3cret", account_id="123456789012", arn=ARN),
    "ASIA": Credential(
        access_key="ASIA",
        secret="s3cret",
        account_id="123456789012",
        arn=ARN,
        session_token="token",
        expires_at=NOW + timedelta(minutes=1),
    ),
}


class Held:
    """The two credentials above."""

    def find_credential(self, access_key):
        return HELD.get(access_key)


def verifier(mode="verify", now=NOW):
    return SignatureVerifier(mode, Held(), FakeClock(now))


def head(headers, *, path="/2015-03-31/functions", query=""):
    return RequestHead("GET", path, path, query, tuple(headers))


def signature(canonical, stamp, scope):
    key = b"AWS4s3cret"
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    return hmac.digest(key, text.encode(), "sha256").hex()


def signed(
    *, key="AKID", stamp=STAMP, scope="20261123/us-east-1/lambda/aws4_request", extra=(), unsigned=(), payload=None,
    without=(), date_header="x-amz-date", date=None,
):  # fmt: skip
    """A signed GET of the function list; ``payload`` replaces the empty body's hash in the canonical request."""
    headers = sorted([("host", "localhost:4566"), (date_header, date or stamp), *extra])
    headers = [pair for pair in headers if pair[0] not in without]
    names = ";".join(name for name, _ in headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers)
    digest = hashlib.sha256(b"").hexdigest() if payload is None else payload
    canonical = f"GET\n/2015-03-31/functions\n\n{lines}\n{names}\n{digest}"
    told = f"Credential={key}/{scope}, SignedHeaders={names}, Signature={signature(canonical, stamp, scope)}"
    sent = [("authorization", f"AWS4-HMAC-SHA256 {told}"), *headers, *unsigned]
    return head(sent + [("host", "localhost:4566")] * ("host" in without))


def presigned(*, expires="600", stamp=STAMP, now=NOW, service="lambda", extra="", headers=()):
    scope = f"{stamp[:8]}/us-east-1/{service}/aws4_request"
    query = (
        f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={quote('AKID/' + scope, safe='')}&X-Amz-Date={stamp}"
        f"&X-Amz-Expires={expires}{extra}&X-Amz-SignedHeaders=host"
    )
    digest = "UNSIGNED-PAYLOAD" if service == "s3" else hashlib.sha256(b"").hexdigest()
    canonical = (
        f"GET\n/2015-03-31/functions\n{'&'.join(sorted(query.split('&')))}\nhost:localhost:4566\n\nhost\n{digest}"
    )
    return head(
        [("host", "localhost:4566"), *headers], query=f"{query}&X-Amz-Signature={signature(canonical, stamp, scope)}"
    )


def test_a_signed_request_names_its_caller_region_and_service():
    identity = verifier().verify(signed(), b"")
    assert (identity.caller.arn, identity.caller.access_key) == (ARN, "AKID")
    assert (identity.scope.account_id, identity.region, identity.service) == ("123456789012", "us-east-1", "lambda")
    assert identity.payload == hashlib.sha256(b"").hexdigest()


def test_the_body_may_be_given_as_its_hash():
    verifier().verify(signed(), lambda: hashlib.sha256(b"").hexdigest())
    with pytest.raises(InvalidSignature):
        verifier().verify(signed(), lambda: hashlib.sha256(b"other").hexdigest())


def test_an_unsigned_request_misses_its_token():
    with pytest.raises(MissingAuthenticationToken) as refused:
        verifier().verify(head([("host", "localhost")]), b"")
    assert (refused.value.status, refused.value.message) == (403, "Missing Authentication Token")


@pytest.mark.parametrize(
    ("authorization", "message"),
    [
        (
            "Bearer abc",
            "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter."
            " Authorization header requires 'SignedHeaders' parameter. Authorization=Bearer abc",
        ),
        (
            "AWS4-HMAC-SHA256 Credential=AKID/20261123/us-east-1/lambda/aws4_request",
            "Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' "
            "parameter. Authorization=AWS4-HMAC-SHA256 Credential=AKID/20261123/us-east-1/lambda/aws4_request",
        ),
        (
            "AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=x",
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got 'a/b/c'",
        ),
        (
            "AWS4-HMAC-SHA256 Credential= a/b, SignedHeaders",
            "'SignedHeaders' not a valid key=value pair (missing equal-sign) in Authorization header: "
            "'AWS4-HMAC-SHA256 Credential= a/b, SignedHeaders'.",
        ),
        (
            "AWS4-ECDSA-P256-SHA256 Credential=a/b/c/d/e, SignedHeaders=host, Signature=x",
            "Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256' (only AWS4-HMAC-SHA256 for now). ",
        ),
    ],
)
def test_an_unreadable_authorization_header_is_told_in_awss_words(authorization, message):
    sent = [("host", "localhost"), ("x-amz-date", STAMP), ("authorization", authorization)]
    with pytest.raises(IncompleteSignature) as refused:
        verifier().verify(head(sent), b"")
    assert refused.value.message == message


def test_a_header_signature_without_a_date_is_incomplete():
    with pytest.raises(IncompleteSignature, match="requires existence of either a 'X-Amz-Date' or a 'Date' header"):
        verifier().verify(head([("host", "x"), ("authorization", "AWS4-HMAC-SHA256 Credential=a")]), b"")


@pytest.mark.parametrize("text", ["yesterday", "20261323T120000Z", "2026-11-23T12:00:00Z"])
def test_a_date_that_is_none_is_incomplete(text):
    with pytest.raises(IncompleteSignature, match="Date must be in ISO-8601"):
        verifier().verify(signed(date=text), b"")


def test_a_date_header_stands_in_for_x_amz_date():
    verifier().verify(signed(date_header="date", date="Mon, 23 Nov 2026 12:00:00 GMT"), b"")


def test_a_presigned_query_without_its_parts_is_incomplete():
    with pytest.raises(IncompleteSignature) as refused:
        verifier().verify(head([("host", "x")], query="X-Amz-Algorithm=AWS4-HMAC-SHA256"), b"")
    assert refused.value.message == (
        "AWS query-string parameters must include 'X-Amz-Credential'. AWS query-string parameters must include "
        "'X-Amz-Signature'. AWS query-string parameters must include 'X-Amz-SignedHeaders'. AWS query-string "
        "parameters must include 'X-Amz-Date'. Re-examine the query-string parameters."
    )


def test_a_request_signed_in_both_ways_is_refused():
    both = presigned(headers=[("authorization", "AWS4-HMAC-SHA256 x")])
    with pytest.raises(InvalidSignature, match="Found both 'X-Amz-Algorithm'"):
        verifier().verify(both, b"")


@pytest.mark.parametrize(
    ("request_head", "error"),
    [
        (signed(key="NOBODY"), UnrecognizedClient),
        (signed(key="ASIA"), UnrecognizedClient),  # its token is missing
        (signed(key="ASIA", extra=[("x-amz-security-token", "other")]), UnrecognizedClient),
        (signed(extra=[("x-amz-security-token", "token")]), UnrecognizedClient),  # this key has no token
    ],
)
def test_a_key_or_token_that_nobody_holds_is_unrecognised(request_head, error):
    with pytest.raises(error) as refused:
        verifier().verify(request_head, b"")
    assert refused.value.message == "The security token included in the request is invalid."


def test_a_session_is_good_until_its_end():
    request_head = signed(key="ASIA", extra=[("x-amz-security-token", "token")])
    verifier(now=NOW + timedelta(seconds=59)).verify(request_head, b"")
    with pytest.raises(ExpiredToken):
        verifier(now=NOW + timedelta(seconds=60)).verify(request_head, b"")


@pytest.mark.parametrize(
    ("scope", "service", "message"),
    [
        ("20261123/us_east/lambda/aws4_request", "lambda", "Credential should be scoped to a valid region, not "
         "'us_east'. "),
        ("20261123/us-east-1/s3/aws4_request", "lambda", "Credential should be scoped to correct service: 'lambda'. "),
        ("20261123/us-east-1/lambda/aws5_request", "lambda", "Credential should be scoped with a valid terminator: "
         "'aws4_request', not 'aws5_request'. "),
        ("20261122/us-east-1/lambda/aws4_request", "lambda", "Date in Credential scope does not match YYYYMMDD from "
         "ISO-8601 version of date from HTTP: '20261122' != '20261123', from '20261123T120000Z'."),
    ],
)  # fmt: skip
def test_a_wrong_scope_is_told_in_awss_words(scope, service, message):
    with pytest.raises(InvalidSignature) as refused:
        verifier().verify(signed(scope=scope), b"", service=service)
    assert refused.value.message == message


@pytest.mark.parametrize(
    ("late_s", "message"),
    [
        (301, "Signature expired: 20261123T120000Z is now earlier than 20261123T120001Z (20261123T120501Z - 5 min.)"),
        (-301, "Signature not yet current: 20261123T120000Z is still later than 20261123T115959Z "
         "(20261123T115459Z + 5 min.)"),
    ],
)  # fmt: skip
def test_a_clock_that_is_off_by_more_than_five_minutes_is_told(late_s, message):
    with pytest.raises(InvalidSignature) as refused:
        verifier(now=NOW + timedelta(seconds=late_s)).verify(signed(), b"")
    assert refused.value.message == message


@pytest.mark.parametrize("late_s", [300, -300])
def test_a_clock_that_is_off_by_five_minutes_is_good_enough(late_s):
    verifier(now=NOW + timedelta(seconds=late_s)).verify(signed(), b"")


@pytest.mark.parametrize(("service", "late_s"), [("s3", 900), ("sts", 899)])
def test_some_services_allow_fifteen_minutes(service, late_s):
    scope = f"20261123/us-east-1/{service}/aws4_request"
    verifier(now=NOW + timedelta(seconds=late_s)).verify(signed(scope=scope), b"")


def test_a_presigned_request_is_good_until_it_expires():
    verifier(now=NOW + timedelta(seconds=600)).verify(presigned(), b"")
    with pytest.raises(InvalidSignature, match=r"^Signature expired: 20261123T120000Z"):
        verifier(now=NOW + timedelta(seconds=601)).verify(presigned(), b"")


def test_a_presigned_request_is_not_good_before_its_time():
    with pytest.raises(InvalidSignature, match="Signature not yet current"):
        verifier(now=NOW - timedelta(seconds=301)).verify(presigned(), b"")


@pytest.mark.parametrize("expires", ["0", "604801", "-1", "1e3", "", "٣"])
def test_a_presigned_request_lasts_a_second_to_a_week(expires):
    with pytest.raises(IncompleteSignature):
        verifier().verify(presigned(expires=expires), b"")


def test_a_presigned_request_may_last_a_week():
    verifier(now=NOW + timedelta(days=7)).verify(presigned(expires="604800"), b"")


def test_a_presigned_parameter_given_twice_is_refused():
    with pytest.raises(InvalidSignature, match="more than once"):
        verifier().verify(presigned(extra="&X-Amz-Date=20261123T120000Z"), b"")


def test_a_wrong_signature_is_told_with_what_should_have_been_signed():
    other = signed()
    other = head([(name, value.replace("localhost", "lambent")) for name, value in other.headers])
    with pytest.raises(InvalidSignature) as refused:
        verifier().verify(other, b"")
    told = refused.value.message
    assert told.startswith("The request signature we calculated does not match the signature you provided. ")
    assert (
        "\n\nThe Canonical String for this request should have been\n'GET\n/2015-03-31/functions\n\nhost:lamb" in told
    )
    assert "\n\nThe String-to-Sign should have been\n'AWS4-HMAC-SHA256\n20261123T120000Z\n20261123/us-east-1" in told
    assert "s3cret" not in told


def test_the_host_has_to_be_signed():
    with pytest.raises(InvalidSignature, match="'Host' or ':authority' must be a 'SignedHeader'"):
        verifier().verify(signed(without=["host"]), b"")


def test_every_amazon_header_has_to_be_signed():
    with pytest.raises(InvalidSignature, match="'x-amz-invocation-type' must be a 'SignedHeader'"):
        verifier().verify(signed(unsigned=[("x-amz-invocation-type", "Event")]), b"")
    verifier().verify(signed(unsigned=[("user-agent", "x"), ("x-amzn-trace-id", "y")]), b"")


def test_a_second_value_of_a_signed_header_breaks_the_signature():
    with pytest.raises(InvalidSignature):
        verifier().verify(signed(unsigned=[("x-amz-date", STAMP)]), b"")


@pytest.mark.parametrize("declared", ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "0" * 64])
def test_only_s3_may_leave_a_body_unsigned(declared):
    with pytest.raises(InvalidSignature):
        verifier().verify(signed(extra=[("x-amz-content-sha256", declared)], payload=declared), b"")


@pytest.mark.parametrize(
    "declared",
    [
        "UNSIGNED-PAYLOAD",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    ],
)
def test_what_s3_declares_of_its_body_is_passed_on_unproven(declared):
    scope = "20261123/us-east-1/s3/aws4_request"
    request_head = signed(scope=scope, extra=[("x-amz-content-sha256", declared)], payload=declared)
    assert verifier().verify(request_head, b"anything").payload == declared


def test_a_declared_hash_is_held_against_the_real_body_of_s3_too():
    real, scope = hashlib.sha256(b"").hexdigest(), "20261123/us-east-1/s3/aws4_request"
    request_head = signed(scope=scope, extra=[("x-amz-content-sha256", real)])
    verifier().verify(request_head, b"")
    with pytest.raises(InvalidSignature):
        verifier().verify(request_head, b"changed")


def test_a_presigned_s3_request_covers_no_body():
    assert verifier().verify(presigned(service="s3"), b"anything").payload == "UNSIGNED-PAYLOAD"


def test_keys_are_derived_anew_when_the_cache_is_full():
    checker = verifier()
    for number in range(1100):
        checker.verify(signed(scope=f"20261123/r-{number}/lambda/aws4_request"), b"")
    checker.verify(signed(), b"")


@pytest.mark.parametrize(
    ("key", "account", "arn"),
    [
        ("210987654321", "210987654321", "arn:aws:iam::210987654321:root"),
        ("AKID", "123456789012", ARN),
        ("anything", "000000000000", "arn:aws:iam::000000000000:root"),
        ("٢١٠٩٨٧٦٥٤٣٢١", "000000000000", "arn:aws:iam::000000000000:root"),
    ],
)
def test_mode_off_believes_the_claimed_key_and_region(key, account, arn):
    scope = "19990101/eu-west-1/lambda/whatever"
    identity = verifier("off").verify(signed(key=key, scope=scope, unsigned=[("x-amz-other", "1")]), b"")
    assert (identity.caller.account_id, identity.caller.arn) == (account, arn)
    assert (identity.region, identity.service) == ("eu-west-1", "lambda")


def test_mode_off_reads_a_presigned_query_too():
    identity = verifier("off", now=NOW + timedelta(days=99)).verify(presigned(), b"")
    assert (identity.caller.account_id, identity.region) == ("123456789012", "us-east-1")


@pytest.mark.parametrize("authorization", [None, "", "Bearer x", "AWS AKID:sig", "AWS4-HMAC-SHA256 Credential=a/b"])
def test_mode_off_takes_whoever_says_nothing_for_the_default_account(authorization):
    headers = [("host", "x")] + ([] if authorization is None else [("authorization", authorization)])
    identity = verifier("off").verify(head(headers), b"")
    assert (identity.scope.account_id, identity.scope.region, identity.service) == ("000000000000", "us-east-1", "")


@pytest.mark.parametrize("region", ["..%2f..", "Us-East-1", "", "a" * 33, "us east", "us-east-1\n"])
@pytest.mark.parametrize("mode", ["off", "verify"])
def test_no_mode_takes_a_region_that_can_be_none(mode, region):
    with pytest.raises(InvalidSignature, match="Credential should be scoped to a valid region, not"):
        verifier(mode).verify(signed(scope=f"20261123/{region}/lambda/aws4_request"), b"")


def test_the_default_account_of_another_partition_has_its_arn():
    scope = "20261123/cn-north-1/lambda/aws4_request"
    assert verifier("off").verify(signed(key="x", scope=scope), b"").caller.arn == "arn:aws-cn:iam::000000000000:root"


@pytest.mark.parametrize(
    ("path", "once", "twice"),
    [
        ("/2015-03-31/functions", "/2015-03-31/functions", "/2015-03-31/functions"),
        ("/a%3Ab", "/a%3Ab", "/a%253Ab"),
        ("/a:b", "/a%3Ab", "/a%3Ab"),
        ("/a//b/", "/a//b/", "/a/b/"),
        ("/a/./b/../c", "/a/./b/../c", "/a/c"),
        ("/../..", "/../..", "/"),
        ("/", "/", "/"),
        ("", "/", "/"),
        ("/a%2fb", "/a/b", "/a%252fb"),
    ],
)
def test_the_path_is_canonical(path, once, twice):
    assert canonical_path(path, is_encoded_once=True) == once
    assert canonical_path(path, is_encoded_once=False) == twice


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ""),
        ("b=2&a=1", "a=1&b=2"),
        ("a=2&a=1", "a=1&a=2"),
        ("List", "List="),
        ("a=%7e%3a", "a=~%3A"),
        ("a=b c+d%2B", "a=b%20c%20d%2B"),
        ("a=b=c", "a=b%3Dc"),
        ("a-b=1&a=2", "a=2&a-b=1"),
    ],
)
def test_the_query_is_canonical(query, expected):
    assert canonical_query(query) == expected


def test_header_values_are_trimmed_folded_and_joined():
    values = {"b": ["  two   words "], "a": ["1", " 2"]}
    assert canonical_headers(values, ["a", "b", "c"]) == "a:1,2\nb:two words\nc:\n"


# -- what was verified once is known


def outcome(verify, request):
    try:
        return verify.verify(request, b"", service="lambda")
    except AuthenticationError as error:
        return type(error), str(error)


def changed(request, name, value):
    return head([(each, value if each == name else old) for each, old in request.headers])


def test_a_client_that_is_known_is_told_the_same_as_a_stranger():
    first, other = signed(), signed(stamp="20261123T120130Z")
    sealed = signed(key="ASIA", extra=[("x-amz-security-token", "token")])
    authorization = first.header("authorization")
    requests = [
        other,
        sealed,
        changed(sealed, "x-amz-security-token", "Token"),
        signed(stamp="20261123T110000Z"),
        signed(stamp="20261123T130000Z"),
        changed(first, "x-amz-date", "20261123T120001Z"),
        changed(first, "x-amz-date", "20261322T120000Z"),
        changed(first, "x-amz-date", ""),
        changed(first, "host", "other"),
        changed(first, "authorization", authorization[:-64]),
        changed(first, "authorization", authorization[:-64] + "ä" * 64),
        changed(first, "authorization", authorization.replace("host;", "")),
        head([*first.headers, ("x-amz-more", "unsigned")]),
        head([*first.headers, ("x-amz-content-sha256", "0" * 64)]),
        head([*first.headers, ("authorization", authorization)]),
        head(first.headers, path="/2015-03-31/functions/x"),
        head(first.headers, query="a=b"),
        head(first.headers, query="X-Amz-Date=1&X-Amz-Credential=2&X-Amz-Algorithm=3"),
        *(changed(first, "authorization", authorization[:at] + "0" + authorization[at + 1 :]) for at in range(60, 200)),
    ]
    known = verifier()
    assert outcome(known, first) == outcome(verifier(), first)
    outcome(known, sealed)
    for request in requests:
        assert outcome(known, request) == outcome(verifier(), request)


def test_a_known_client_goes_the_short_way(monkeypatch):
    known = verifier()
    first = known.verify(signed(), b"", service="lambda")
    monkeypatch.setattr(known, "_require_match", None)
    assert known.verify(signed(stamp="20261123T120200Z"), b"", service="lambda") == first


def test_a_known_client_whose_credential_is_gone_is_refused():
    class Fleeting:
        held = HELD["AKID"]

        def find_credential(self, access_key):
            return self.held

    known = SignatureVerifier("verify", Fleeting(), FakeClock(NOW))
    known.verify(signed(), b"", service="lambda")
    Fleeting.held = None
    with pytest.raises(UnrecognizedClient):
        known.verify(signed(), b"", service="lambda")


def test_a_known_client_is_refused_where_another_service_is_asked():
    known = verifier()
    known.verify(signed(), b"", service="lambda")
    with pytest.raises(InvalidSignature):
        known.verify(signed(), b"", service="logs")

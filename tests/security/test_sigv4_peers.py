"""Requests signed by botocore are accepted; the same requests, changed, are not."""

import dataclasses
import random
import string
from datetime import UTC, datetime
from unittest import mock

import pytest
from botocore import auth as botocore_auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from lambent.access.credentials import Credential
from lambent.access.errors import AuthenticationError
from lambent.access.sigv4 import SignatureVerifier
from lambent.http.application import RequestHead
from lambent.testing.clock import FakeClock

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
PATH_TEXT = string.ascii_letters + string.digits + "-_.~:@$!*'(),;=+ %äß雪"
SIGNERS = {
    "header": lambda who, region: botocore_auth.SigV4Auth(who, "lambda", region),
    "query": lambda who, region: botocore_auth.SigV4QueryAuth(who, "lambda", region, expires=600),
    "s3-header": lambda who, region: botocore_auth.S3SigV4Auth(who, "s3", region),
    "s3-query": lambda who, region: botocore_auth.S3SigV4QueryAuth(who, "s3", region, expires=600),
}


class Known:
    """Two credentials: one for ever, one with a session token."""

    def __init__(self):
        shared = {"secret": SECRET, "account_id": "123456789012"}
        arn = "arn:aws:iam::123456789012:user/u"
        self.held = {
            "AKIDFOREVER": Credential(access_key="AKIDFOREVER", arn=arn, **shared),
            "ASIASESSION": Credential(access_key="ASIASESSION", arn=arn, session_token="tok/en+=", **shared),
        }

    def find_credential(self, access_key):
        return self.held.get(access_key)


def verifier():
    return SignatureVerifier("verify", Known(), FakeClock(NOW))


def quoted(draw, count):
    from urllib.parse import quote

    return quote("".join(draw.choices(PATH_TEXT, k=count)), safe="-_.~")


def signed(draw, kind):
    """A random request as it goes over the wire, signed by botocore: (head, body)."""
    who = draw.choice([("AKIDFOREVER", None), ("ASIASESSION", "tok/en+=")])
    segments = ["2015-03-31", "functions", *(quoted(draw, draw.randint(1, 9)) for _ in range(draw.randint(0, 3)))]
    query = "&".join(f"{quoted(draw, 3)}={quoted(draw, draw.randint(0, 6))}" for _ in range(draw.randint(0, 4)))
    url = f"http://127.0.0.1:4566/{'/'.join(segments)}" + (f"?{query}" if query else "")
    body = draw.randbytes(draw.choice([0, 1, 40, 3000])) if not kind.endswith("query") else b""
    request = AWSRequest(draw.choice(["GET", "POST", "PUT", "DELETE"]), url, data=body)
    request.headers["X-Amz-Client-Context"] = "  two   words "
    request.headers["Content-Type"] = "application/json"
    if draw.random() < 0.5:
        request.headers["x-custom"] = "a"
    with mock.patch.object(botocore_auth, "get_current_datetime", return_value=NOW):
        SIGNERS[kind](BotoCredentials(who[0], SECRET, who[1]), draw.choice(["us-east-1", "eu-west-3"])).add_auth(
            request
        )
    target = request.prepare().url.removeprefix("http://127.0.0.1:4566")
    path, _, sent_query = target.partition("?")
    headers = [("host", "127.0.0.1:4566"), ("user-agent", "test"), ("x-amzn-trace-id", "Root=1")]
    headers += [(name.lower(), value) for name, value in request.headers.items()]
    return RequestHead(request.method, target, path, sent_query, tuple(headers)), body


@pytest.mark.parametrize("kind", SIGNERS)
@pytest.mark.parametrize("seed", range(50))
def test_a_request_signed_by_botocore_is_accepted(kind, seed):
    head, body = signed(random.Random(f"{kind}{seed}"), kind)
    identity = verifier().verify(head, body, service=kind.split("-")[0] if kind.startswith("s3") else "lambda")
    assert identity.caller.account_id == "123456789012"
    assert identity.region in ("us-east-1", "eu-west-3")


def mutated(draw, head, body):
    """The same request with one byte changed in something that is signed, or in the signature."""
    signed_names = names_signed(head)
    places = ["method", "path", "query", "body", "header", "header", "authorization"]
    while True:
        place = draw.choice(places)
        if place == "body" and body and "UNSIGNED" not in (value_of(head, "x-amz-content-sha256") or ""):
            return head, changed_bytes(draw, body)
        if place in ("method", "path", "query") and getattr(head, place):
            text = changed_text(draw, getattr(head, place))
            if not is_same_spelling(text, getattr(head, place)):
                return dataclasses.replace(head, **{place: text}), body
        if place in ("header", "authorization"):
            wanted = {"authorization"} if place == "authorization" else signed_names
            at = [n for n, (name, value) in enumerate(head.headers) if name in wanted and value.strip()]
            if at:
                index = draw.choice(at)
                name, value = head.headers[index]
                text = changed_text(draw, value)
                if " ".join(text.split()) != " ".join(value.split()):
                    headers = (*head.headers[:index], (name, text), *head.headers[index + 1 :])
                    return dataclasses.replace(head, headers=headers), body


def names_signed(head):
    import re
    from urllib.parse import unquote

    text = value_of(head, "authorization") or unquote(head.query)
    return set(re.search(r"SignedHeaders=([^,&]*)", text)[1].split(";"))


def value_of(head, name):
    return dict(head.headers).get(name)


def changed_text(draw, text):
    at = draw.randrange(len(text))
    other = draw.choice([c for c in string.printable[:95] if c != text[at]])
    return text[:at] + other + text[at + 1 :]


def changed_bytes(draw, body):
    at = draw.randrange(len(body))
    return body[:at] + bytes([body[at] ^ draw.randint(1, 255)]) + body[at + 1 :]


def is_same_spelling(one, other):
    """Whether two targets differ only in how the same characters are percent-encoded."""
    from urllib.parse import unquote_to_bytes

    def pairs(text):
        return sorted(unquote_to_bytes(part.replace("+", " ")) for part in text.split("&") if part)

    return pairs(one) == pairs(other)


@pytest.mark.parametrize("kind", SIGNERS)
def test_no_request_with_one_byte_changed_is_accepted(kind):
    draw = random.Random(f"mutations of {kind}")
    checker, accepted = verifier(), []
    for _ in range(500):  # of each kind: 2,000 in all
        head, body = signed(draw, kind)
        checker.verify(head, body)
        other, other_body = mutated(draw, head, body)
        assert (other, other_body) != (head, body)
        try:
            checker.verify(other, other_body, service="s3" if kind.startswith("s3") else "lambda")
        except AuthenticationError:
            continue
        accepted.append((head, other))
    assert not accepted, accepted[:3]

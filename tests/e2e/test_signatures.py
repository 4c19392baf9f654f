"""Signatures verified: right and wrong keys, presigned requests, code locations, foreign pages."""

import urllib.error
import urllib.request

import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from lambent.testing.process import LambentProcess

from . import aws

KEY, SECRET, ACCOUNT = "AKIALAMBENTEXAMPLE00", "right/secret+of/the+test", "123456789012"
ECHO = "def handler(event, context):\n    return [event, context.invoked_function_arn]\n"


@pytest.fixture(scope="module")
def verifying(state_dir):
    settings = {"signatures": "verify", "credentials": {KEY: {"secret": SECRET, "account": ACCOUNT}}}
    with LambentProcess(state_dir, settings=settings) as started:
        yield started


@pytest.fixture(scope="module")
def owner(verifying):
    return aws.client("lambda", verifying.endpoint, key=KEY, secret=SECRET)


@pytest.fixture(scope="module")
def function(owner):
    return aws.create(owner, ECHO)


def test_the_right_key_works_and_names_its_account(owner, function):
    assert aws.invoke(owner, function, 1).payload == [1, f"arn:aws:lambda:{aws.REGION}:{ACCOUNT}:function:{function}"]


@pytest.mark.parametrize(
    ("key", "secret", "code"),
    [
        pytest.param(KEY, "wrong", "InvalidSignatureException", id="wrong-secret"),
        pytest.param("AKIANOBODYKNOWSTHIS0", SECRET, "UnrecognizedClientException", id="unknown-key"),
    ],
)
def test_a_wrong_key_is_refused(key, secret, code, verifying, function):
    client = aws.client("lambda", verifying.endpoint, key=key, secret=secret)
    for call in (client.list_functions, lambda: client.invoke(FunctionName=function)):
        with pytest.raises(ClientError) as caught:
            call()
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
        assert caught.value.response["Error"]["Code"] == code


def presigned(verifying, function, secret):
    request = AWSRequest("GET", f"{verifying.endpoint}/2015-03-31/functions/{function}")
    SigV4QueryAuth(Credentials(KEY, secret), "lambda", aws.REGION, expires=60).add_auth(request)
    return request.url


def test_a_presigned_request_works_and_a_badly_signed_one_does_not(verifying, function):
    with urllib.request.urlopen(presigned(verifying, function, SECRET), timeout=20) as response:
        assert function.encode() in response.read()
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(presigned(verifying, function, "wrong"), timeout=20)
    assert caught.value.code == 403
    caught.value.close()


def test_an_unsigned_request_is_refused(verifying, function):
    url = f"{verifying.endpoint}/2015-03-31/functions/{function}/invocations"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(url, data=b"{}", method="POST"), timeout=20)
    assert caught.value.code == 403
    caught.value.close()


def test_the_code_location_is_the_package_and_only_with_its_own_signature(owner):
    package = aws.packed({"app.py": ECHO, "more.txt": "x" * 1000})
    name = aws.create(owner, package)
    location = owner.get_function(FunctionName=name)["Code"]["Location"]
    with urllib.request.urlopen(location, timeout=20) as response:
        assert response.read() == package
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(location.replace("Signature=", "Signature=0"), timeout=20)
    assert caught.value.code == 403
    caught.value.close()


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Host": "evil.example"}])
def test_no_page_of_the_web_drives_the_endpoint(headers, server):
    request = urllib.request.Request(f"{server.endpoint}/2015-03-31/functions", headers=headers)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=20)
    assert caught.value.code == 403
    caught.value.close()

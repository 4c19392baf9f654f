"""Which service a request is for."""

import pytest

from lambent.frontend.service_names import find_service
from lambent.http.application import RequestHead

SCOPE = "AWS4-HMAC-SHA256 Credential=AK/20261123/us-east-1/{}/aws4_request, SignedHeaders=host, Signature=0"


def head(path="/", query="", **headers):
    pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return RequestHead("POST", path, path, query, pairs)


@pytest.mark.parametrize(
    ("asked", "service"),
    [
        pytest.param(head(authorization=SCOPE.format("lambda")), "lambda", id="scope"),
        pytest.param(head(authorization=SCOPE.format("logs"), x_amz_target="AWSLambda.X"), "logs", id="scope-first"),
        pytest.param(
            head(query="a=b&X-Amz-Credential=AK%2F20261123%2Fus-east-1%2Fs3%2Faws4_request&c=d"), "s3", id="presigned"
        ),
        pytest.param(head(query="X-Amz-Credential=AK/20261123/eu-west-1/lambda/aws4_request"), "lambda", id="raw"),
        pytest.param(head(x_amz_target="Logs_20140328.PutLogEvents"), "logs", id="target"),
        pytest.param(head(x_amz_target="AWSLambda.Invoke"), "lambda", id="target-lambda"),
        pytest.param(head(x_amz_target="Nobody_1.X", host="lambda.localhost"), None, id="unknown-target"),
        pytest.param(head(host="lambda.us-east-1.amazonaws.com"), "lambda", id="host"),
        pytest.param(head(host="logs.us-gov-west-1.amazonaws.com:443"), "logs", id="host-and-port"),
        pytest.param(head(host="sqs.localhost:4566"), "sqs", id="host-localhost"),
        pytest.param(head(host="bucket.s3.eu-west-1.amazonaws.com"), "s3", id="bucket"),
        pytest.param(head(host="my.bucket.s3.localhost:4566"), "s3", id="bucket-with-dots"),
        pytest.param(head(host="s3-us-west-2.amazonaws.com"), "s3", id="old-s3"),
        pytest.param(head("/2015-03-31/functions", host="localhost:4566"), "lambda", id="path"),
        pytest.param(head("/2021-10-31/functions/f/url", host="[::1]:4566"), "lambda", id="path-ipv6"),
        pytest.param(head("/2015-03-31/functionsx", host="localhost"), None, id="path-of-nothing"),
        pytest.param(head("/bucket/key", host="127.0.0.1:4566"), None, id="nothing-tells"),
        pytest.param(head(authorization="Bearer abc", host="localhost"), None, id="other-authorization"),
        pytest.param(head(), None, id="no-host"),
    ],
)
def test_service_is_found_by_signature_then_target_then_host_then_path(asked, service):
    assert find_service(asked) == service

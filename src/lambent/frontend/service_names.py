"""Which AWS service a request is for: by its signature, its target header, its Host, or its path."""

import re
from collections.abc import Mapping
from typing import Final

from lambent.http.application import RequestHead

# Prefix of X-Amz-Target → name in the credential scope (metadata.targetPrefix of the service models).
_TARGETS: Final[Mapping[str, str]] = {
    "Logs_20140328": "logs",
    "AWSLambda": "lambda",
    "AmazonSQS": "sqs",
    "AWSEvents": "events",
    "AWSStepFunctions": "states",
    "DynamoDB_20120810": "dynamodb",
    "DynamoDBStreams_20120810": "dynamodb",
    "Kinesis_20131202": "kinesis",
    "GraniteServiceVersion20100801": "monitoring",
    "secretsmanager": "secretsmanager",
    "AmazonSSM": "ssm",
    "TrentService": "kms",
    "CodeDeploy_20141006": "codedeploy",
    "AmazonEC2ContainerRegistry_V20150921": "ecr",
    "AWSCognitoIdentityProviderService": "cognito-idp",
    "AWSCognitoIdentityService": "cognito-identity",
}
_SCOPE: Final = re.compile(r"Credential=[^/\s]+/\d{8}/[a-z0-9-]+/([a-z0-9-]+)/aws4_request")
_PRESIGNED: Final = re.compile(r"(?:^|&)X-Amz-Credential=[^&]+?(?:/|%2F)([a-z0-9-]+)(?:/|%2F)aws4_request(?:&|$)", re.I)
_PRESIGNED_OLD: Final = re.compile(
    r"(?=.*(?:^|&)AWSAccessKeyId=)(?=.*(?:^|&)Signature=)(?=.*(?:^|&)Expires=)"
)  # S3's alone
# lambda.us-east-1.amazonaws.com, logs.localhost, bucket.s3.eu-west-1.amazonaws.com, bucket.s3-accelerate.…
_S3_HOST: Final = re.compile(r"(?:.+\.)?s3[.-].+")
_HOST: Final = re.compile(r"([a-z][a-z0-9-]*)\.(?:(?:[a-z]{2,4}-)+\d\.)?(?:amazonaws\.com|api\.aws|localhost)(?:\..+)?")
# Service model, requestUri: every path of Lambda begins with a date and one of these.
_LAMBDA_PATH: Final = re.compile(
    r"/20\d\d-\d\d-\d\d/(?:functions|event-source-mappings|layers|tags|account-settings|code-signing-configs|"
    r"layers-by-arn|capacity-providers|durable-executions|durable-execution-callbacks|runtimes|network-connectors)"
    r"(?:[/?]|$)"
)


def find_service(head: RequestHead) -> str | None:
    """Return the name, as in a credential scope, of the service that ``head`` asks; None if nothing tells."""
    authorization = head.header("authorization")
    if authorization is not None and (scope := _SCOPE.search(authorization)) is not None:
        return scope[1]
    if "mz-credential=" in head.query.lower() and (scope := _PRESIGNED.search(head.query)) is not None:
        return scope[1]
    if "AWSAccessKeyId=" in head.query and _PRESIGNED_OLD.match(head.query):
        return "s3"
    if (target := head.header("x-amz-target")) is not None:
        return _TARGETS.get(target.partition(".")[0])
    return _by_host(head.header("host") or "") or ("lambda" if _LAMBDA_PATH.match(head.path) else None)


def _by_host(host: str) -> str | None:
    name = host.lower().rpartition(":")[0] or host.lower() if not host.endswith("]") else host
    if _S3_HOST.fullmatch(name):
        return "s3"
    match = _HOST.fullmatch(name)
    return match[1] if match is not None else None

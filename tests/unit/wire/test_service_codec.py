"""Routing, reading, rendering: the rules that no model states."""

import base64
import copy
import json
import sys
import unicodedata
from datetime import UTC, datetime

import pytest

from lambent.model.errors import (
    AccessDenied,
    HostError,
    InvalidParameterValue,
    InvalidRequestContent,
    NotImplementedYet,
    RequestTooLarge,
    ResourceNotFound,
    Throttled,
    ThrottleReason,
    ValidationError,
)
from lambent.wire.errors import InvalidParameter, UnreadableValue
from lambent.wire.message import WireRequest
from lambent.wire.patterns import compile_pattern
from lambent.wire.service import ServiceCodec
from lambent.wire.service_model import ServiceModel

LAMBDA = ServiceCodec.load("lambda")
LOGS = ServiceCodec.load("logs")
FUNCTIONS = "/2015-03-31/functions"


def post(body, **members):
    return WireRequest("POST", FUNCTIONS, body=json.dumps(body).encode() if isinstance(body, dict) else body, **members)


def create(**members):
    role = "arn:aws:iam::123456789012:role/r"
    return LAMBDA.operation("CreateFunction").parse(
        post({"FunctionName": "f", "Role": role, "Code": {"ZipFile": "eA=="}, **members}), {}
    )


@pytest.mark.parametrize(
    ("method", "path", "query", "operation", "labels"),
    [
        ("GET", FUNCTIONS, "", "ListFunctions", {}),
        ("GET", f"{FUNCTIONS}/", "", "ListFunctions", {}),
        ("POST", f"{FUNCTIONS}/f/invocations", "Qualifier=1", "Invoke", {"FunctionName": "f"}),
        ("POST", f"{FUNCTIONS}/arn%3Aaws%3Alambda/invocations", "", "Invoke", {"FunctionName": "arn:aws:lambda"}),
        ("GET", f"{FUNCTIONS}/a%2Fb", "", "GetFunction", {"FunctionName": "a/b"}),
        ("GET", f"{FUNCTIONS}/a+b", "", "GetFunction", {"FunctionName": "a+b"}),
        ("GET", "/2018-10-31/layers", "", "ListLayers", {}),
        ("GET", "/2018-10-31/layers", "find=LayerVersion&Arn=x", "GetLayerVersionByArn", {}),
        ("GET", "/2018-10-31/layers", "find=Other", "ListLayers", {}),
        (
            "GET",
            "/2019-09-30/functions/f/provisioned-concurrency",
            "List=ALL",
            "ListProvisionedConcurrencyConfigs",
            {"FunctionName": "f"},
        ),
        (
            "GET",
            "/2019-09-30/functions/f/provisioned-concurrency",
            "Qualifier=1",
            "GetProvisionedConcurrencyConfig",
            {"FunctionName": "f"},
        ),
        (
            "DELETE",
            "/2018-10-31/layers/l/versions/3/policy/s",
            "",
            "RemoveLayerVersionPermission",
            {"LayerName": "l", "VersionNumber": "3", "StatementId": "s"},
        ),
        ("POST", "/2014-11-13/functions/f/invoke-async/", "", "InvokeAsync", {"FunctionName": "f"}),
    ],
)
def test_a_rest_request_finds_its_operation(method, path, query, operation, labels):
    route = LAMBDA.route(WireRequest(method, path, query))
    assert (route.codec.name, route.labels) == (operation, labels)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", FUNCTIONS),
        ("GET", "/"),
        ("GET", ""),
        ("GET", f"{FUNCTIONS}/f/nothing"),
        ("POST", f"{FUNCTIONS}//invocations"),
        ("HEAD", FUNCTIONS),
    ],
)
def test_a_request_of_no_operation_finds_none(method, path):
    assert LAMBDA.route(WireRequest(method, path)) is None


@pytest.mark.parametrize(
    ("method", "target", "operation"),
    [
        ("POST", "Logs_20140328.PutLogEvents", "PutLogEvents"),
        ("GET", "Logs_20140328.PutLogEvents", None),
        ("POST", "Logs_20140328.Nothing", None),
        ("POST", "Other.PutLogEvents", None),
        ("POST", None, None),
    ],
)
def test_a_json_request_finds_its_operation_by_target(method, target, operation):
    headers = () if target is None else (("x-amz-target", target),)
    route = LOGS.route(WireRequest(method, "/", headers=headers))
    assert (route.codec.name if route else None) == operation


def test_unknown_members_are_ignored_and_null_members_are_absent():
    members = create(Nothing=1, Description=None, VpcConfig={"SubnetIds": None, "Other": []})
    assert "Nothing" not in members
    assert "Description" not in members
    assert members["VpcConfig"] == {}
    assert members["Code"] == {"ZipFile": b"x"}


@pytest.mark.parametrize(
    ("member", "value", "message"),
    [
        ("Timeout", "3", "STRING_VALUE can not be converted to an Integer"),
        ("Timeout", True, "TRUE_VALUE can not be converted to an Integer"),
        ("Timeout", 1 << 40, "NUMBER_VALUE can not be converted to an Integer"),
        ("Description", 3, "NUMBER_VALUE can not be converted to a String"),
        ("Description", False, "FALSE_VALUE can not be converted to a String"),
        ("Description", {}, "Start of structure or map found where not expected."),
        ("Description", [], "Start of list found where not expected"),
        ("Publish", "true", "STRING_VALUE can not be converted to a Boolean"),
        ("VpcConfig", "x", "Unexpected token received from parser"),
        ("Layers", {}, "Start of structure or map found where not expected."),
        ("Layers", "x", "Unexpected token received from parser"),
        ("Environment", {"Variables": ["A"]}, "Start of list found where not expected"),
        ("Code", {"ZipFile": "*"}, "Invalid base64 encoding"),
    ],
)
def test_a_wrong_json_type_is_a_serialization_exception(member, value, message):
    with pytest.raises(UnreadableValue) as refused:
        create(**{member: value})
    assert refused.value.message == message


def test_a_serialization_exception_has_only_its_message_as_aws_answers_it():
    answer = LAMBDA.render_error(UnreadableValue("STRING_VALUE can not be converted to an Integer"))
    assert json.loads(answer.body) == {"Message": "STRING_VALUE can not be converted to an Integer"}
    assert (answer.status, dict(answer.headers)["x-amzn-errortype"]) == (400, "SerializationException")


def test_a_fraction_is_cut_off_an_integer():
    assert create(Timeout=3.9)["Timeout"] == 3


@pytest.mark.parametrize("body", [b"{", b"{]", b"nul", b'{"a":1e999999999999}', b"[" * 100_000, b"\xff", b'"\\ud800"'])
def test_a_body_that_is_no_json_is_refused_in_jacksons_words(body):
    with pytest.raises(InvalidRequestContent) as refused:
        LAMBDA.operation("CreateFunction").parse(post(body), {})
    assert refused.value.message.startswith("Could not parse request body into json: ")
    assert "line: 1, column: " in refused.value.message
    with pytest.raises(UnreadableValue):
        LOGS.operation("CreateLogGroup").parse(WireRequest("POST", "/", body=body), {})


@pytest.mark.parametrize("body", [b"[]", b"3", b'"x"', b"null"])
def test_a_body_that_is_no_object_is_a_serialization_exception(body):
    with pytest.raises(UnreadableValue):
        LAMBDA.operation("CreateFunction").parse(post(body), {})


def test_an_empty_body_is_an_empty_object():
    with pytest.raises(ValidationError) as refused:
        LAMBDA.operation("CreateFunction").parse(post(b""), {})
    assert refused.value.message == "3 validation errors detected: " + "; ".join(
        f"Value null at '{name}' failed to satisfy constraint: Member must not be null"
        for name in ("functionName", "role", "code")
    )


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (
            {"Environment": {"Variables": {"1A": "secret"}}},
            # Seen from AWS: neither names nor values of variables are repeated.
            "Value at 'environment.variables' failed to satisfy constraint: Map keys must satisfy constraint: "
            "[Member must satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+]",
        ),
        ({"MemorySize": 64}, "Value '64' at 'memorySize' failed to satisfy constraint: "
         "Member must have value greater than or equal to 128"),
        ({"Architectures": ["X86_64"]}, "Value '[X86_64]' at 'architectures' failed to satisfy constraint: "
         "Member must satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64], "
         "Member must not be null]"),
        ({"Architectures": ["x86_64", "arm64"]}, "Value '[x86_64, arm64]' at 'architectures' failed to satisfy "
         "constraint: Member must have length less than or equal to 1"),
        ({"SnapStart": {"ApplyOn": "x"}}, "Value 'x' at 'snapStart.applyOn' failed to satisfy constraint: "
         "Member must satisfy enum value set: [PublishedVersions, None]"),
        ({"FileSystemConfigs": [{"Arn": "arn:aws:elasticfilesystem:us-east-1:123456789012:access-point/"
                                 "fsap-0123456789abcdef0"}]},
         "Value null at 'fileSystemConfigs.1.member.localMountPath' failed to satisfy constraint: "
         "Member must not be null"),
    ],
)  # fmt: skip
def test_a_broken_constraint_is_told_in_awss_words(members, expected):
    with pytest.raises(ValidationError) as refused:
        create(**members)
    assert refused.value.message == f"1 validation error detected: {expected}"


@pytest.mark.parametrize("operation", ["CreateFunction", "UpdateFunctionConfiguration"])
def test_an_unknown_runtime_is_left_to_the_operations_own_rule(operation):
    body = {"FunctionName": "f", "Role": "arn:aws:iam::123456789012:role/r", "Code": {}, "Runtime": "cobol85"}
    assert LAMBDA.operation(operation).parse(post(body), {"FunctionName": "f"})["Runtime"] == "cobol85"


def test_logs_calls_a_broken_constraint_an_invalid_parameter():
    with pytest.raises(InvalidParameter) as refused:
        LOGS.operation("CreateLogGroup").parse(WireRequest("POST", "/", body=b'{"logGroupName":"a b"}'), {})
    assert json.loads(LOGS.render_error(refused.value).body) == {
        "__type": "InvalidParameterException",
        "message": r"1 validation error detected: Value 'a b' at 'logGroupName' failed to satisfy constraint: "
        r"Member must satisfy regular expression pattern: [\.\-_/#A-Za-z0-9]+",
    }


def test_invoke_reads_header_query_label_and_raw_payload():
    request = WireRequest(
        "POST",
        f"{FUNCTIONS}/f/invocations",
        "Qualifier=live",
        (("x-amz-invocation-type", "Event"), ("x-amz-log-type", "Tail"), ("x-other", "1")),
        b"\x00 not json",
    )
    route = LAMBDA.route(request)
    assert route.codec.parse(request, route.labels) == {
        "FunctionName": "f",
        "Qualifier": "live",
        "InvocationType": "Event",
        "LogType": "Tail",
        "Payload": b"\x00 not json",
    }


def test_invoke_answers_with_status_headers_and_raw_payload():
    answer = LAMBDA.operation("Invoke").render(
        {"StatusCode": 202, "Payload": b"\x00", "ExecutedVersion": "$LATEST", "FunctionError": None}
    )
    assert (answer.status, answer.body) == (202, b"\x00")
    assert dict(answer.headers) == {"content-type": "application/json", "X-Amz-Executed-Version": "$LATEST"}


@pytest.mark.parametrize(
    ("operation", "result", "status", "body"),
    [
        ("DeleteFunction", {}, 204, b""),
        ("TagResource", {}, 204, b""),
        ("GetFunctionConcurrency", {}, 200, b"{}"),
        ("CreateFunction", {"FunctionName": "f", "Description": None}, 201, b'{"FunctionName":"f"}'),
        ("GetEventSourceMapping", {"LastModified": datetime(2026, 1, 1, 0, 0, 0, 500_000, UTC)}, 200,
         b'{"LastModified":1767225600.5}'),
    ],
)  # fmt: skip
def test_an_answer_has_awss_status_and_body(operation, result, status, body):
    answer = LAMBDA.operation(operation).render(result)
    assert (answer.status, answer.body) == (status, body)


@pytest.mark.parametrize("operation", ["CreateFunction", "Invoke", "DeleteFunction"])
def test_a_result_with_a_member_that_the_model_lacks_is_a_defect(operation):
    with pytest.raises(TypeError, match="has no member Nothing"):
        LAMBDA.operation(operation).render({"Nothing": 1})


@pytest.mark.parametrize(
    ("error", "status", "body"),
    [
        (ResourceNotFound("gone"), 404, {"Type": "User", "Message": "gone"}),
        (InvalidParameterValue("bad"), 400, {"Type": "User", "message": "bad"}),
        (ValidationError("bad"), 400, {"message": "bad"}),
        (RequestTooLarge("big"), 413, {"message": "big"}),
        (AccessDenied("no", kind=None), 403, {"Message": "no"}),
        (
            Throttled(ThrottleReason.CONCURRENT),
            429,
            {"Type": "User", "message": "Rate Exceeded.", "Reason": "ConcurrentInvocationLimitExceeded"},
        ),
        (
            HostError("/var/lib secret"),
            500,
            {"Type": "Service", "Message": "An error occurred and the request cannot be processed."},
        ),
        (
            ZeroDivisionError(),
            500,
            {"Type": "Service", "Message": "An error occurred and the request cannot be processed."},
        ),
    ],
)
def test_an_error_has_awss_body(error, status, body):
    answer = LAMBDA.operation("Invoke").render_error(error)
    assert (answer.status, json.loads(answer.body)) == (status, body)
    assert dict(answer.headers)["x-amzn-errortype"] == getattr(error, "code", "ServiceException")


def test_an_error_member_bound_to_a_header_travels_there():
    error = Throttled(ThrottleReason.RATE)
    error.members = {**error.members, "retryAfterSeconds": "3"}
    answer = LAMBDA.render_error(error)
    assert dict(answer.headers)["Retry-After"] == "3"
    assert "retryAfterSeconds" not in json.loads(answer.body)


def test_a_json_error_names_its_type_in_body_and_header():
    answer = LOGS.operation("GetLogEvents").render_error(ResourceNotFound("The specified log group does not exist."))
    assert answer.status == 400
    assert json.loads(answer.body) == {
        "__type": "ResourceNotFoundException",
        "message": "The specified log group does not exist.",
    }
    assert dict(answer.headers) == {
        "content-type": "application/x-amz-json-1.1",
        "x-amzn-errortype": "ResourceNotFoundException",
    }


@pytest.mark.parametrize(
    ("error", "status"),
    [(AccessDenied("no"), 400), (RequestTooLarge("big"), 413), (NotImplementedYet("X"), 501), (OSError(), 500)],
)
def test_a_json_error_that_the_caller_can_mend_is_a_400(error, status):
    assert LOGS.render_error(error).status == status


def test_a_member_planted_into_the_model_round_trips_without_code():
    model = copy.deepcopy(ServiceModel.load("lambda").raw)
    shapes = model["shapes"]
    shapes["Shelf"] = {"type": "structure", "required": ["Depth"], "members": {
        "Depth": {"shape": "Depth"}, "Seals": {"shape": "Seals"}, "Since": {"shape": "Since"}}}  # fmt: skip
    shapes["Depth"] = {"type": "integer", "min": 1, "max": 9}
    shapes["Seals"] = {"type": "list", "member": {"shape": "Seal"}}
    shapes["Seal"] = {"type": "blob"}
    shapes["Since"] = {"type": "timestamp"}
    shapes["CreateFunctionRequest"]["members"]["Shelf"] = {"shape": "Shelf"}
    shapes["FunctionConfiguration"]["members"]["Shelf"] = {"shape": "Shelf"}
    codec = ServiceCodec("lambda", model).operation("CreateFunction")
    sent = {"Depth": 3, "Seals": [base64.b64encode(b"wax").decode()], "Since": 1_700_000_000.25}
    body = {"FunctionName": "f", "Role": "arn:aws:iam::123456789012:role/r", "Code": {}, "Shelf": sent}
    members = codec.parse(post(body), {})
    assert members["Shelf"] == {
        "Depth": 3,
        "Seals": [b"wax"],
        "Since": datetime.fromtimestamp(1_700_000_000.25, UTC),
    }
    assert json.loads(codec.render({"Shelf": members["Shelf"]}).body)["Shelf"] == sent
    with pytest.raises(ValidationError, match=r"Value '10' at 'shelf\.depth'.*less than or equal to 9"):
        codec.parse(post(body | {"Shelf": {"Depth": 10}}), {})


def test_a_shape_that_contains_itself_is_read_checked_and_written():
    model = {
        "metadata": {"protocol": "json", "jsonVersion": "1.1", "targetPrefix": "T", "endpointPrefix": "t"},
        "operations": {"Op": {"http": {"method": "POST", "requestUri": "/"}, "input": {"shape": "Node"},
                              "output": {"shape": "Node"}}},
        "shapes": {
            "Node": {"type": "structure", "required": ["name"],
                     "members": {"name": {"shape": "S"}, "below": {"shape": "Nodes"}}},
            "Nodes": {"type": "list", "member": {"shape": "Node"}},
            "S": {"type": "string", "max": 2},
        },
    }  # fmt: skip
    codec = ServiceCodec("tree", model).operation("Op")
    tree = {"name": "a", "below": [{"name": "b", "below": [{"name": "c"}]}]}
    assert codec.parse(WireRequest("POST", "/", body=json.dumps(tree).encode()), {}) == tree
    assert json.loads(codec.render(tree).body) == tree
    deep = {"name": "a", "below": [{"name": "b"}, {"below": [{"name": "ccc"}]}]}
    with pytest.raises(ValidationError) as refused:
        codec.parse(WireRequest("POST", "/", body=json.dumps(deep).encode()), {})
    assert refused.value.message == (
        "2 validation errors detected: "
        "Value null at 'below.2.member.name' failed to satisfy constraint: Member must not be null; "
        "Value 'ccc' at 'below.2.member.below.1.member.name' failed to satisfy constraint: "
        "Member must have length less than or equal to 2"
    )


def test_a_service_that_speaks_no_known_protocol_is_refused():
    with pytest.raises(LookupError, match="ec2 speaks none of"):
        ServiceCodec.load("ec2")


@pytest.mark.parametrize("service", ["lambda", "logs", "sqs", "s3", "events", "dynamodb", "apigateway", "iam"])
def test_every_pattern_of_a_service_model_compiles(service):
    shapes = ServiceModel.load(service).raw["shapes"]
    patterns = [shape["pattern"] for shape in shapes.values() if "pattern" in shape]
    assert all(compile_pattern(pattern) for pattern in patterns)


def test_pythons_word_characters_are_javas_letters_digits_and_underscore():
    word = compile_pattern(r"[\p{L}\p{N}_]")
    for point in range(sys.maxunicode + 1):
        character = chr(point)
        expected = unicodedata.category(character)[0] in "LN" or character == "_"
        assert (word.fullmatch(character) is not None) == expected, hex(point)


@pytest.mark.parametrize(
    ("pattern", "value", "is_match"),
    [
        (r"\d{2}", "٣٣", False),  # Java's \d is ASCII
        (r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)", "Größe 雪 1", True),
        (r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)", "a*b", False),
        (r"[\w-_]*", "a-b_c", True),
        (r"\p{XDigit}{2}", "aF", True),
        (r"\P{C}*", "ab\u0007", False),
        (r"[\P{M}\p{M}]{1,3}", "a\n", True),
        (r"[\p{L}\p{N}\p{P}]*", "ä1!", True),
        (r"[\p{L}\p{N}\p{P}]*", "a b", False),
    ],
)
def test_a_pattern_means_what_it_means_in_java(pattern, value, is_match):
    assert (compile_pattern(pattern).fullmatch(value) is not None) == is_match

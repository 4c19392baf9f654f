"""Names as callers write them. Answers recorded from AWS, November 2025, unless said otherwise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.model.errors import AccessDenied, CallerError, InvalidParameterValue, ResourceNotFound, ValidationError
from lambent.model.ids import Scope
from lambent.model.invocations import Target
from lambent.model.names import (
    FunctionName,
    is_alias_name,
    parse_function_name,
    parse_function_reference,
    parse_taggable_resource,
)

SCOPE = Scope("123456789012", "us-east-1")
ARN = "arn:aws:lambda:us-east-1:123456789012:function:"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("f", FunctionName("f"), id="name"),
        pytest.param("f:1", FunctionName("f", "1"), id="name-and-version"),
        pytest.param("f:$LATEST", FunctionName("f", "$LATEST"), id="name-and-latest"),
        pytest.param("f:live", FunctionName("f", "live"), id="name-and-alias"),
        pytest.param("function", FunctionName("function"), id="the-bare-word-function-is-a-name"),
        pytest.param("function:f", FunctionName("f"), id="function-colon-name"),
        pytest.param("123456789012:function:f", FunctionName("f", None, "123456789012"), id="partial-arn"),
        pytest.param("123456789012:f:2", FunctionName("f", "2", "123456789012"), id="partial-arn-without-the-word"),
        pytest.param(ARN + "f", FunctionName("f", None, "123456789012", "us-east-1"), id="full-arn"),
        pytest.param(ARN + "f:v", FunctionName("f", "v", "123456789012", "us-east-1"), id="full-arn-and-alias"),
        pytest.param(
            "arn:aws-us-gov:lambda:us-gov-west-1:123456789012:function:f",
            FunctionName("f", None, "123456789012", "us-gov-west-1"),
            id="another-partition",
        ),
    ],
)
def test_a_name_is_read_in_every_form(text, expected):
    assert parse_function_name(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "my-function!",
        "invalid-account:function:f",
        "arn:aws:lambda:invalid-region:123456789012:function:f",
        "arn:aws:ec2:us-east-1:123456789012:instance:i-1",
        "arn:aws:lambda::123456789012:function:f",
        "arn:aws:lambda:us-east-1::function:f",
        ARN + "f:$LATES",
        ARN + "f:$LATEST:1",
        ARN + "f:1:2",
        "function:f:$LATEST:extra",
        "arn:aws:lambda:us-east-1:123400000000@function:f",
    ],
)
def test_what_aws_refuses_by_pattern_is_refused_with_the_pattern(text):
    with pytest.raises(ValidationError) as refusal:
        parse_function_name(text)
    assert refusal.value.message == (
        f"1 validation error detected: Value '{text}' at 'functionName' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: (arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|"
        r"(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_\.]+)"
        r"(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?"
    )


def answer(call):
    try:
        return call()
    except CallerError as error:
        return (type(error), error.message)


TOO_LONG = "a" * 65
CASES = [
    pytest.param("GetFunction", "f", None, Target(SCOPE, "f"), id="name"),
    pytest.param("GetFunction", "f", "3", Target(SCOPE, "f", "3"), id="qualifier-as-a-member"),
    pytest.param("GetFunction", "f:3", None, Target(SCOPE, "f", "3"), id="qualifier-in-the-name"),
    pytest.param("GetFunction", ARN + "f:3", "3", Target(SCOPE, "f", "3"), id="qualifier-said-twice-alike"),
    pytest.param(
        "DeleteFunction",
        ARN + "f:1",
        "$LATEST",
        (
            InvalidParameterValue,
            "The derived qualifier from the function name does not match the specified qualifier.",
        ),
        id="qualifier-said-twice-differently",
    ),
    pytest.param(
        "GetFunction",
        "arn:aws:lambda:ap-southeast-1:123456789012:function:f",
        None,
        (ResourceNotFound, "Functions from 'ap-southeast-1' are not reachable in this region ('us-east-1')"),
        id="another-region",
    ),
    pytest.param(
        "GetFunction",
        "arn:aws:lambda:ap-southeast-1:123456789012:function:f:1",
        "2",
        (
            InvalidParameterValue,
            "The derived qualifier from the function name does not match the specified qualifier.",
        ),
        id="the-qualifier-comes-before-the-region",
    ),
    pytest.param(
        "GetFunction",
        "210987654321:function:f",
        None,
        (
            AccessDenied,
            "User: arn:aws:iam::123456789012:user/u is not authorized to perform: lambda:GetFunction on resource: "
            "210987654321:function:f because no resource-based policy allows the lambda:GetFunction action",
        ),
        id="another-account",
    ),
    pytest.param(
        "CreateFunction",
        TOO_LONG,
        None,
        (
            InvalidParameterValue,
            f"1 validation error detected: Value '{TOO_LONG}' at 'functionName' failed to satisfy constraint: "
            "Member must have length less than or equal to 64",
        ),
        id="create-with-65-characters",
    ),
    pytest.param("GetFunction", TOO_LONG, None, Target(SCOPE, TOO_LONG), id="others-just-do-not-find-65-characters"),
]


@pytest.mark.parametrize(("operation", "text", "qualifier", "expected"), CASES)
def test_a_reference_is_resolved_or_refused_as_aws_does(operation, text, qualifier, expected):
    caller_arn = "arn:aws:iam::123456789012:user/u"
    got = answer(lambda: parse_function_reference(text, qualifier, SCOPE, operation, caller_arn=caller_arn))
    assert got == expected


@given(st.from_regex(r"[a-zA-Z0-9-_]{1,64}", fullmatch=True), st.none() | st.sampled_from(["1", "$LATEST", "live"]))
def test_the_arn_of_a_target_means_the_same_target(name, qualifier):
    target = Target(SCOPE, name, qualifier)
    assert parse_function_reference(str(target.arn), None, SCOPE, "GetFunction") == target


@pytest.mark.parametrize(
    ("qualifier", "expected"), [("live", True), ("1a", True), ("12", False), ("$LATEST", False), ("$latest", False)]
)
def test_only_what_is_no_number_and_no_dollar_word_is_an_alias(qualifier, expected):
    assert is_alias_name(qualifier) is expected


def test_a_taggable_arn_tells_its_kind_and_qualifier():
    resource = parse_taggable_resource(ARN + "f:live", SCOPE, "ListTags")
    assert (resource.kind, resource.name, resource.qualifier) == ("function", "f", "live")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("arn:aws:lambda:eu-west-1:123456789012:function:f", ResourceNotFound),
        ("arn:aws:lambda:us-east-1:000000000000:function:f", AccessDenied),
        ("f", ValidationError),
    ],
)
def test_a_taggable_arn_of_elsewhere_is_refused(text, kind):
    assert answer(lambda: parse_taggable_resource(text, SCOPE, "ListTags"))[0] is kind

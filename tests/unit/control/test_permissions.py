"""Resource policies: exact statements, a policy for each qualifier, guards, and their end with what they were for."""

import json

import pytest

from .conftest import SCOPE

pytestmark = pytest.mark.anyio
ARN = f"arn:aws:lambda:{SCOPE.region}:{SCOPE.account_id}:function:f"
MISSING = "ResourceNotFoundException"


@pytest.fixture
async def world(world):
    """A function with version 1 and an alias of it."""
    await world.create_active()
    await world.call("PublishVersion", FunctionName="f")
    await world.call("CreateAlias", FunctionName="f", Name="live", FunctionVersion="1")
    return world


def permission(sid="s", principal="s3.amazonaws.com", **members):
    asked = {"FunctionName": "f", "StatementId": sid, "Action": "lambda:InvokeFunction", "Principal": principal}
    return {**asked, **members}


async def add(world, *args, **members):
    return json.loads((await world.call("AddPermission", **permission(*args, **members)))["Statement"])


async def policy(world, **members):
    answer = await world.call("GetPolicy", FunctionName="f", **members)
    return json.loads(answer["Policy"]), answer["RevisionId"]


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"principal": "123456789012"}, {"Principal": {"AWS": "arn:aws:iam::123456789012:root"}}),
        ({"principal": "*"}, {"Principal": "*"}),
        (
            {"principal": "arn:aws:iam::1234" + "5" * 8 + ":role/r"},
            {"Principal": {"AWS": "arn:aws:iam::123455555555:role/r"}},
        ),
        ({"SourceArn": "arn:aws:s3:::b"}, {"Condition": {"ArnLike": {"AWS:SourceArn": "arn:aws:s3:::b"}}}),
        (
            {"SourceArn": "arn:aws:s3:::b", "SourceAccount": "123456789012"},
            {
                "Condition": {
                    "ArnLike": {"AWS:SourceArn": "arn:aws:s3:::b"},
                    "StringEquals": {"AWS:SourceAccount": "123456789012"},
                }
            },
        ),
        ({"PrincipalOrgID": "o-1"}, {"Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}}),
        ({"EventSourceToken": "t"}, {"Condition": {"StringEquals": {"lambda:EventSourceToken": "t"}}}),
        ({"FunctionUrlAuthType": "NONE"}, {"Condition": {"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}}}),
        ({"InvokedViaFunctionUrl": True}, {"Condition": {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}}),
        ({"Qualifier": "live"}, {"Resource": f"{ARN}:live"}),
    ],
)
async def test_statements_have_awss_shapes(world, members, expected):
    statement = await add(world, **members)
    plain = {
        "Sid": "s",
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "lambda:InvokeFunction",
        "Resource": ARN,
    }
    assert statement == plain | expected
    assert list(statement) == [*plain, *(["Condition"] if "Condition" in expected else [])]


async def test_each_qualifier_has_a_policy_and_it_goes_with_its_last_statement(world):
    await add(world, "one")
    await add(world, "two", Qualifier="1")
    document, _ = await policy(world)
    assert (document["Version"], document["Id"]) == ("2012-10-17", "default")
    assert [each["Sid"] for each in document["Statement"]] == ["one"]
    assert [each["Sid"] for each in (await policy(world, Qualifier="1"))[0]["Statement"]] == ["two"]
    gone = (MISSING, "The resource you requested does not exist.")
    assert await world.refusal("GetPolicy", FunctionName="f", Qualifier="live") == gone
    await world.call("RemovePermission", FunctionName="f", StatementId="one")
    assert await world.refusal("GetPolicy", FunctionName="f") == gone


async def test_a_permission_changes_the_revision_of_what_it_is_for(world):
    before = (await world.call("GetFunctionConfiguration", FunctionName="f"))["RevisionId"]
    await add(world, RevisionId=before)
    _, revision = await policy(world)
    assert (await world.call("GetFunctionConfiguration", FunctionName="f"))["RevisionId"] == revision != before
    stale = await world.refusal("AddPermission", **permission("other", RevisionId=before))
    assert stale == (
        "PreconditionFailedException",
        "The Revision Id provided does not match the latest Revision Id. "
        "Call the GetPolicy API to retrieve the latest Revision Id",
    )
    await add(world, "alias", Qualifier="live")
    alias = await world.call("GetAlias", FunctionName="f", Name="live")
    assert alias["RevisionId"] == (await policy(world, Qualifier="live"))[1]
    await world.call("RemovePermission", FunctionName="f", StatementId="s", RevisionId=revision)


async def test_what_cannot_be_permitted_is_told_in_awss_words(world):
    await add(world)
    for members, expected in (
        (permission(), ("ResourceConflictException", "The statement id (s) provided already exists. "
         "Please provide a new statement id, or remove the existing statement.")),
        (permission(Qualifier="$LATEST"), ("InvalidParameterValueException",
         "We currently do not support adding policies for $LATEST.")),
        (permission("x", "nobody"), ("InvalidParameterValueException",
         "The provided principal was invalid. Please check the principal and try again.")),
        (permission(Qualifier="none"), (MISSING, f"Cannot find alias arn: {ARN}:none")),
        (permission(Qualifier="42"), (MISSING, f"Function not found: {ARN}:42")),
        (permission(FunctionName="none"), (MISSING, f"Function not found: {ARN[:-1]}none")),
    ):  # fmt: skip
        assert await world.refusal("AddPermission", **members) == expected
    for members, text in (
        ({"FunctionName": "f", "StatementId": "x"}, "Statement x is not found in resource policy."),
        (
            {"FunctionName": "f", "StatementId": "x", "Qualifier": "1"},
            "No policy is associated with the given resource.",
        ),
        ({"FunctionName": "none", "StatementId": "x"}, f"No policy found for: {ARN[:-1]}none"),
    ):
        assert await world.refusal("RemovePermission", **members) == (MISSING, text)


async def test_a_policy_has_at_most_twenty_kilobytes(world):
    source = f"arn:aws:s3:::{'b' * 900}"
    for number in range(18):
        await add(world, f"s{number}", SourceArn=source)
    code, text = await world.refusal("AddPermission", **permission("more", SourceArn=source))
    assert code == "PolicyLengthExceededException"
    assert text.endswith("is bigger than the limit (20480).")
    assert len((await world.call("GetPolicy", FunctionName="f"))["Policy"]) <= 20_480


@pytest.mark.parametrize(
    ("operation", "members"),
    [("DeleteAlias", {"Name": "live"}), ("DeleteFunction", {})],
)
async def test_a_policy_goes_with_what_it_was_for(world, operation, members):
    await add(world, Qualifier="live")
    await world.call(operation, FunctionName="f", **members)
    assert (await world.documents.list("spec/policy/")).docs == ()

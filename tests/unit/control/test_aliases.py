"""Aliases: what they may name, in AWS's words when they may not, and who of two writers wins."""

import asyncio

import pytest

from lambent.model.errors import CallerError

from .conftest import SCOPE

pytestmark = pytest.mark.anyio
ARN = f"arn:aws:lambda:{SCOPE.region}:{SCOPE.account_id}:function:f"
INVALID, MISSING, TAKEN = "InvalidParameterValueException", "ResourceNotFoundException", "ResourceConflictException"


@pytest.fixture
async def world(world):
    """A function with versions 1, 2 and 3, of which 3 has a role of its own."""
    await world.create_active()
    for number in (1, 2, 3):
        role = f"arn:aws:iam::123456789012:role/{'other' if number == 3 else 'r'}"
        await world.call("UpdateFunctionConfiguration", FunctionName="f", Description=str(number), Role=role)
        await world.settle("f")
        await world.call("PublishVersion", FunctionName="f")
    return world


async def create(world, name="live", version="1", weights=None, **members):
    if weights is not None:
        members["RoutingConfig"] = {"AdditionalVersionWeights": weights}
    return await world.call("CreateAlias", FunctionName="f", Name=name, FunctionVersion=version, **members)


async def test_an_alias_lives_from_creation_to_deletion(world):
    created = await create(world, Description="d")
    assert created == {
        "AliasArn": f"{ARN}:live",
        "Name": "live",
        "FunctionVersion": "1",
        "Description": "d",
        "RevisionId": created["RevisionId"],
    }
    assert await world.call("GetAlias", FunctionName="f", Name="live") == created
    updated = await world.call(
        "UpdateAlias",
        FunctionName="f",
        Name="live",
        FunctionVersion="2",
        RoutingConfig={"AdditionalVersionWeights": {"1": 0.25}},
    )
    assert updated["RoutingConfig"] == {"AdditionalVersionWeights": {"1": 0.25}}
    assert (updated["Description"], updated["FunctionVersion"]) == ("d", "2")
    assert updated["RevisionId"] != created["RevisionId"]
    kept = await world.call("UpdateAlias", FunctionName="f", Name="live", Description="")
    assert (kept["Description"], kept["RoutingConfig"]) == ("", updated["RoutingConfig"])
    cleared = await world.call(
        "UpdateAlias", FunctionName="f", Name="live", RoutingConfig={"AdditionalVersionWeights": {}}
    )
    assert "RoutingConfig" not in cleared
    assert await world.call("DeleteAlias", FunctionName="f", Name="live") == {}
    assert await world.call("DeleteAlias", FunctionName="f", Name="live") == {}
    assert await world.refusal("GetAlias", FunctionName="f", Name="live") == (
        MISSING,
        f"Cannot find alias arn: {ARN}:live",
    )


async def test_a_function_read_by_alias_has_the_versions_settings_and_the_aliass_arn(world):
    await create(world, version="2")
    answer = await world.call("GetFunction", FunctionName=f"{ARN}:live")
    assert (answer["Configuration"]["FunctionArn"], answer["Configuration"]["Version"]) == (f"{ARN}:live", "2")
    assert answer["Configuration"]["Description"] == "2"


@pytest.mark.parametrize(
    ("version", "weights", "expected"),
    [
        ("10", None, (MISSING, f"Function not found: {ARN}:10")),
        ("01", None, (MISSING, f"Function not found: {ARN}:01")),
        ("$LATEST.PUBLISHED", None, (MISSING, f"Function not found: {ARN}:$LATEST.PUBLISHED")),
        ("1", {"10": 0.5}, (MISSING, f"Function not found: {ARN}:10")),
        (
            "1",
            {"2": 0.5, "3": 0.5},
            (INVALID, "Number of items in AdditionalVersionWeights cannot be greater than 1"),
        ),
        (
            "1",
            {"1": 0.5},
            (
                INVALID,
                "Invalid function version 1. Function version 1 is already included in routing configuration.",
            ),
        ),
        ("$LATEST", {"1": 0.5}, (INVALID, "$LATEST is not supported for an alias pointing to more than 1 version")),
        (
            "1",
            {"3": 0.5},
            (
                INVALID,
                "All versions of an alias must have the same execution role and the same dead-letter queue",
            ),
        ),
    ],
)
async def test_what_an_alias_may_not_name_is_refused_in_awss_words(world, version, weights, expected):
    routing = {} if weights is None else {"RoutingConfig": {"AdditionalVersionWeights": weights}}
    named = {"FunctionName": "f", "Name": "live", "FunctionVersion": version, **routing}
    assert await world.refusal("CreateAlias", **named) == expected
    await create(world)
    assert await world.refusal("UpdateAlias", **named) == expected


async def test_a_plain_alias_may_name_latest(world):
    assert (await create(world, version="$LATEST"))["FunctionVersion"] == "$LATEST"


async def test_a_name_that_is_taken_or_absent_is_told(world):
    await create(world)
    assert await world.refusal("CreateAlias", FunctionName="f", Name="live", FunctionVersion="2") == (
        TAKEN,
        f"Alias already exists: {ARN}:live",
    )
    assert await world.refusal("UpdateAlias", FunctionName="f", Name="none") == (
        MISSING,
        f"Alias not found: {ARN}:none",
    )


async def test_a_version_that_an_alias_names_is_not_deleted(world):
    await create(world, "blue", "1", {"2": 0.1})
    await create(world, "amber", "2")
    for number, names in (("1", "blue"), ("2", "amber, blue")):
        assert await world.refusal("DeleteFunction", FunctionName="f", Qualifier=number) == (
            TAKEN,
            f"Unable to delete version because the following aliases reference it: [{names}]",
        )
    assert await world.refusal("DeleteFunction", FunctionName="f", Qualifier="blue") == (
        INVALID,
        "Deletion of aliases is not currently supported.",
    )


async def test_an_old_revision_of_an_alias_changes_nothing(world):
    old = await create(world)
    new = await world.call("UpdateAlias", FunctionName="f", Name="live", RevisionId=old["RevisionId"], Description="n")
    code, _ = await world.refusal(
        "UpdateAlias", FunctionName="f", Name="live", RevisionId=old["RevisionId"], Description="x"
    )
    assert code == "PreconditionFailedException"
    assert await world.call("GetAlias", FunctionName="f", Name="live") == new


async def test_aliases_are_listed_by_name_and_by_the_version_they_may_run(world):
    for name, version, weights in (("c", "2", {"1": 0.5}), ("a", "1", None), ("b", "2", None)):
        await create(world, name, version, weights)
    for size in (1, 2, 50):
        seen, marker = [], {}
        while True:
            page = await world.call("ListAliases", FunctionName="f", MaxItems=size, **marker)
            seen += [alias["Name"] for alias in page["Aliases"]]
            if "NextMarker" not in page:
                break
            marker = {"Marker": page["NextMarker"]}
        assert seen == ["a", "b", "c"]
    page = await world.call("ListAliases", FunctionName="f", FunctionVersion="1")
    assert [alias["Name"] for alias in page["Aliases"]] == ["a", "c"]


async def test_no_alias_is_left_to_name_a_version_that_was_deleted_meanwhile(world):
    for _ in range(10):
        await asyncio.gather(
            create(world, version="2"),
            world.call("DeleteFunction", FunctionName="f", Qualifier="2"),
            return_exceptions=True,
        )
        try:
            version = (await world.call("GetAlias", FunctionName="f", Name="live"))["FunctionVersion"]
        except CallerError:
            assert (await world.refusal("GetFunction", FunctionName="f", Qualifier="2"))[0] == MISSING
            return
        await world.call("GetFunction", FunctionName="f", Qualifier=version)
        await world.call("DeleteAlias", FunctionName="f", Name="live")

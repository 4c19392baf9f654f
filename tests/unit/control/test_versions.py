"""Versions: numbers that only grow, snapshots that never change, and what may not be published or deleted."""

import asyncio

import pytest

from lambent.model.documents import version_spec_key
from lambent.model.errors import CallerError

from .conftest import SCOPE

pytestmark = pytest.mark.anyio
ARN = f"arn:aws:lambda:{SCOPE.region}:{SCOPE.account_id}:function:f"


async def publish(world, **members):
    return await world.call("PublishVersion", FunctionName="f", **members)


async def configure(world, **members):
    await world.call("UpdateFunctionConfiguration", FunctionName="f", **members)
    await world.settle("f")


async def test_a_version_of_a_ready_function_is_active_at_once_and_never_changes(world):
    latest = await world.create_active(Description="one", Environment={"Variables": {"A": "1"}})
    version = await publish(world)
    assert (version["Version"], version["FunctionArn"]) == ("1", f"{ARN}:1")
    assert (version["State"], version["LastUpdateStatus"]) == ("Active", "Successful")
    assert version["RevisionId"] != latest["RevisionId"]
    await configure(world, Description="two", Environment={"Variables": {"A": "2"}}, Timeout=9)
    await world.call("UpdateFunctionCode", FunctionName="f", ZipFile=b"PK-two")
    await world.settle("f")
    assert await world.call("GetFunctionConfiguration", FunctionName="f", Qualifier="1") == version
    assert await world.call("GetFunctionConfiguration", FunctionName=f"{ARN}:1") == version
    assert version["Environment"] == {"Variables": {"A": "1"}}


async def test_publishing_changes_the_revision_of_latest(world):
    latest = await world.create_active()
    await publish(world, RevisionId=latest["RevisionId"])
    after = await world.call("GetFunctionConfiguration", FunctionName="f")
    assert after["RevisionId"] != latest["RevisionId"]
    assert {**after, "RevisionId": ""} == {**latest, "RevisionId": ""}
    assert (await world.refusal("PublishVersion", FunctionName="f", RevisionId=latest["RevisionId"]))[0] == (
        "PreconditionFailedException"
    )
    updated = await world.call("UpdateFunctionConfiguration", FunctionName="f", RevisionId=after["RevisionId"])
    assert updated["RevisionId"] not in (after["RevisionId"], latest["RevisionId"])


async def test_no_new_version_where_nothing_changed(world):
    await world.create_active(Environment={"Variables": {"A": "1"}})
    first = await publish(world, Description="first")
    assert await publish(world, Description="second") == first
    await configure(world, Environment={"Variables": {"A": "1"}})  # sealed anew, the same in clear text
    assert await publish(world) == first
    await configure(world, Description="changed")
    second = await publish(world)
    assert (second["Version"], second["Description"]) == ("2", "changed")


async def test_numbers_are_never_used_again(world):
    await world.create_active()
    await publish(world)
    await world.call("DeleteFunction", FunctionName="f", Qualifier="1")
    assert await world.refusal("GetFunction", FunctionName="f", Qualifier="1") == (
        "ResourceNotFoundException",
        f"Function not found: {ARN}:1",
    )
    assert (await publish(world))["Version"] == "2"


async def test_a_version_that_is_not_there_is_deleted_without_an_error(world):
    await world.create_active()
    for number in ("7", "01", "9" * 40):
        assert await world.call("DeleteFunction", FunctionName="f", Qualifier=number) == {"StatusCode": 204}
    assert (await world.call("GetFunction", FunctionName="f"))["Configuration"]["Version"] == "$LATEST"


async def test_another_package_than_the_caller_means_is_not_published(world):
    await world.create_active()
    current = (await world.call("GetFunctionConfiguration", FunctionName="f"))["CodeSha256"]
    assert await world.refusal("PublishVersion", FunctionName="f", CodeSha256="x") == (
        "InvalidParameterValueException",
        f"CodeSHA256 (x) is different from current CodeSHA256 in $LATEST ({current}). "
        "Please try again with the CodeSHA256 in $LATEST.",
    )
    assert (await publish(world, CodeSha256=current))["Version"] == "1"


async def test_what_is_under_way_is_not_published(world):
    await world.create()
    assert (
        "state: 'Pending'. StateReasonCode: 'Creating'" in (await world.refusal("PublishVersion", FunctionName="f"))[1]
    )
    await world.settle("f")
    await world.call("UpdateFunctionConfiguration", FunctionName="f", Timeout=4)
    assert "An update is in progress" in (await world.refusal("PublishVersion", FunctionName="f"))[1]


async def test_a_function_that_would_be_snapshotted_is_not_published(world):
    await world.create_active(SnapStart={"ApplyOn": "PublishedVersions"})
    assert "SnapStart is not supported yet" in (await world.refusal("PublishVersion", FunctionName="f"))[1]
    refused = await world.refusal("UpdateFunctionCode", FunctionName="f", ZipFile=b"PK-2", Publish=True)
    assert "SnapStart is not supported yet" in refused[1]


async def test_creating_with_publish_answers_version_one_which_becomes_active(world):
    created = await world.create(Publish=True)
    assert (created["Version"], created["FunctionArn"], created["State"]) == ("1", ARN, "Pending")
    assert "LastUpdateStatus" not in created
    await world.settle("f")
    version = await world.call("GetFunctionConfiguration", FunctionName="f", Qualifier="1")
    assert (version["State"], version["LastUpdateStatus"], version["FunctionArn"]) == (
        "Active",
        "Successful",
        f"{ARN}:1",
    )
    assert (await publish(world))["Version"] == "1"


async def test_updating_code_with_publish_answers_the_version_while_latest_is_in_progress(world):
    await world.create_active()
    updated = await world.call("UpdateFunctionCode", FunctionName="f", ZipFile=b"PK-2", Publish=True)
    assert (updated["Version"], updated["FunctionArn"], updated["State"]) == ("1", f"{ARN}:1", "Pending")
    latest = await world.call("GetFunctionConfiguration", FunctionName="f")
    assert (latest["State"], latest["LastUpdateStatus"]) == ("Active", "InProgress")
    await world.settle("f")
    again = await world.call("UpdateFunctionCode", FunctionName="f", ZipFile=b"PK-2", Publish=True)
    assert (again["Version"], again["State"]) == ("1", "Active")


async def test_versions_are_listed_by_number_behind_latest(world):
    await world.create_active()
    for number in range(1, 12):
        await configure(world, Description=str(number))
        await publish(world)
    await world.call("DeleteFunction", FunctionName="f", Qualifier="3")
    expected = ["$LATEST", "1", "2", *map(str, range(4, 12))]
    for size in (1, 2, 5, 11, 50):
        seen, marker = [], {}
        while True:
            page = await world.call("ListVersionsByFunction", FunctionName="f", MaxItems=size, **marker)
            assert len(page["Versions"]) <= size
            seen += page["Versions"]
            if "NextMarker" not in page:
                break
            marker = {"Marker": page["NextMarker"]}
        assert [each["Version"] for each in seen] == expected
        assert [each["FunctionArn"] for each in seen] == [f"{ARN}:{version}" for version in expected]


async def test_all_functions_are_listed_with_all_their_versions(world):
    for name in ("a", "b", "c"):
        await world.create_active(name)
    for name, numbers in (("a", 2), ("c", 1)):
        for number in range(numbers):
            await world.call("UpdateFunctionConfiguration", FunctionName=name, Description=str(number))
            await world.settle(name)
            await world.call("PublishVersion", FunctionName=name)
    expected = ["a:$LATEST", "a:1", "a:2", "b:$LATEST", "c:$LATEST", "c:1"]
    for size in (1, 2, 3, 6, 50):
        seen, marker = [], {}
        while True:
            page = await world.call("ListFunctions", FunctionVersion="ALL", MaxItems=size, **marker)
            seen += page["Functions"]
            if "NextMarker" not in page:
                break
            marker = {"Marker": page["NextMarker"]}
        assert [each["FunctionArn"].split(":function:")[1] for each in seen] == expected, size


async def test_deleting_a_function_takes_its_versions_and_aliases_along(world):
    await world.create_active()
    await publish(world)
    await world.call("CreateAlias", FunctionName="f", Name="live", FunctionVersion="1")
    await world.call("DeleteFunction", FunctionName="f")
    await world.settle("f")
    assert (await world.documents.list("spec/")).docs == ()
    await world.create_active()
    for qualifier in ("1", "live"):
        assert (await world.refusal("GetFunction", FunctionName="f", Qualifier=qualifier))[0] == (
            "ResourceNotFoundException"
        )
    assert (await publish(world))["Version"] == "1"


async def test_what_a_namesake_left_behind_is_not_there(world):
    await world.create_active()
    await publish(world)
    left = await world.documents.find(version_spec_key(SCOPE, "f", 1))
    await world.call("DeleteFunction", FunctionName="f")
    await world.create_active()
    await world.documents.put(left.key, left.value)
    assert (await world.refusal("GetFunction", FunctionName="f", Qualifier="1"))[0] == "ResourceNotFoundException"
    page = await world.call("ListVersionsByFunction", FunctionName="f")
    assert [each["Version"] for each in page["Versions"]] == ["$LATEST"]


async def test_of_publishers_at_once_each_gets_a_whole_version(world):
    await world.create_active()
    for round_ in range(5):
        await configure(world, Description=str(round_))
        answers = await asyncio.gather(*(publish(world) for _ in range(6)), return_exceptions=True)
        assert not [answer for answer in answers if isinstance(answer, Exception)]
        assert {answer["Version"] for answer in answers} == {str(round_ + 1)}
        assert len({answer["RevisionId"] for answer in answers}) == 1


async def test_updating_while_publishing_is_one_before_the_other(world):
    await world.create_active()
    for round_ in range(20):
        before = await world.call("GetFunctionConfiguration", FunctionName="f")
        published, updated = await asyncio.gather(
            publish(world),
            world.call("UpdateFunctionConfiguration", FunctionName="f", Description=f"d{round_}"),
            return_exceptions=True,
        )
        assert updated["Description"] == f"d{round_}"
        if isinstance(published, CallerError):
            assert published.code == "ResourceConflictException"
        else:
            assert published["Description"] == before["Description"]
        await world.settle("f")


async def test_the_account_counts_functions_and_the_code_of_versions(world):
    await world.create_active()
    await publish(world)
    usage = (await world.call("GetAccountSettings"))["AccountUsage"]
    assert usage == {"FunctionCount": 1, "TotalCodeSize": 2 * len(b"PK-one")}

"""Provisioned concurrency as asked for: who may have it, how much, and that sums hold."""

import asyncio

import pytest

from lambent.model.concurrency import ProvisionedStatus, Provisioning, provisioned_status_key
from lambent.model.documents import render_document

from .conftest import SCOPE

pytestmark = pytest.mark.anyio
ARN = f"arn:aws:lambda:{SCOPE.region}:{SCOPE.account_id}:function:f"
INVALID, CONFLICT, MISSING = "InvalidParameterValueException", "ResourceConflictException", "ResourceNotFoundException"


@pytest.fixture
async def world(world):
    """A function with versions 1 and 2, and an alias of the first."""
    await world.create_active()
    for number in (1, 2):
        await world.call("UpdateFunctionConfiguration", FunctionName="f", Description=str(number))
        await world.settle("f")
        await world.call("PublishVersion", FunctionName="f")
    await world.call("CreateAlias", FunctionName="f", Name="live", FunctionVersion="1")
    return world


def asked(qualifier, amount):
    return {"FunctionName": "f", "Qualifier": qualifier, "ProvisionedConcurrentExecutions": amount}


async def put(world, qualifier="1", amount=2):
    return await world.call("PutProvisionedConcurrencyConfig", **asked(qualifier, amount))


async def refused(world, qualifier, amount=2):
    return await world.refusal("PutProvisionedConcurrencyConfig", **asked(qualifier, amount))


async def unreserved(world):
    return (await world.call("GetAccountSettings"))["AccountLimit"]["UnreservedConcurrentExecutions"]


async def test_what_is_asked_for_is_in_progress_until_the_data_plane_says_otherwise(world):
    answer = await put(world)
    assert answer == {
        "RequestedProvisionedConcurrentExecutions": 2,
        "AvailableProvisionedConcurrentExecutions": 0,
        "AllocatedProvisionedConcurrentExecutions": 0,
        "Status": "IN_PROGRESS",
        "LastModified": answer["LastModified"],
    }
    read = {"FunctionName": "f", "Qualifier": "1"}
    assert await world.call("GetProvisionedConcurrencyConfig", **read) == answer
    spec = (await world.documents.find(f"spec/concurrency/{SCOPE.account_id}/{SCOPE.region}")).value
    revision = spec["provisioned"]["f"]["1"]["revision_id"]
    status = ProvisionedStatus(revision_id=revision, allocated=2, available=2, state=Provisioning.READY)
    await world.documents.put(provisioned_status_key(SCOPE, "f", "1"), render_document(status))
    ready = await world.call("GetProvisionedConcurrencyConfig", **read)
    assert (ready["Status"], ready["AvailableProvisionedConcurrentExecutions"]) == ("READY", 2)
    assert (await put(world, amount=3))["Status"] == "IN_PROGRESS"
    assert (await world.call("GetProvisionedConcurrencyConfig", **read))["Status"] == "IN_PROGRESS"


async def test_all_of_a_function_are_listed_by_qualifier(world):
    await put(world, "2", 1)
    await put(world, "live", 1)
    seen, marker = [], {}
    while True:
        page = await world.call("ListProvisionedConcurrencyConfigs", FunctionName="f", MaxItems=1, **marker)
        seen += [each["FunctionArn"] for each in page["ProvisionedConcurrencyConfigs"]]
        if "NextMarker" not in page:
            break
        marker = {"Marker": page["NextMarker"]}
    assert seen == [f"{ARN}:2", f"{ARN}:live"]


async def test_a_version_is_provisioned_by_itself_or_through_an_alias(world):
    await put(world, "1")
    taken = "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"
    assert await refused(world, "live") == (CONFLICT, taken)
    await world.call("DeleteProvisionedConcurrencyConfig", FunctionName="f", Qualifier="1")
    await put(world, "live")
    assert await refused(world, "1") == (CONFLICT, "Version is pointed by a Provisioned Concurrency alias")
    await world.call("CreateAlias", FunctionName="f", Name="other", FunctionVersion="1")
    assert await refused(world, "other") == (CONFLICT, taken)
    await put(world, "2")


async def test_only_published_versions_and_aliases_have_it(world):
    assert await refused(world, "$LATEST") == (
        INVALID,
        "Provisioned Concurrency Configs cannot be applied to unpublished function versions.",
    )
    assert await refused(world, "9") == (MISSING, f"Function not found: {ARN}:9")
    assert await refused(world, "none") == (MISSING, f"Cannot find alias arn: {ARN}:none")
    assert await world.refusal("GetProvisionedConcurrencyConfig", FunctionName="f", Qualifier="1") == (
        "ProvisionedConcurrencyConfigNotFoundException",
        "No Provisioned Concurrency Config found for this function",
    )


async def test_it_is_taken_from_the_share_or_from_what_nobody_reserved(world):
    await put(world, "1", 10)
    assert await unreserved(world) == 990
    await world.call("PutFunctionConcurrency", FunctionName="f", ReservedConcurrentExecutions=12)
    assert await unreserved(world) == 988
    over = "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function"
    assert await refused(world, "2", 3) == (INVALID, over)
    await put(world, "2", 2)
    low = await world.refusal("PutFunctionConcurrency", FunctionName="f", ReservedConcurrentExecutions=11)
    assert low == (
        INVALID,
        " ReservedConcurrentExecutions  11 should not be lower than function's total provisioned concurrency [12].",
    )


async def test_no_more_is_provisioned_than_the_account_has(world):
    words = "Specified ConcurrentExecutions for function"
    greater = f"{words} is greater than account's unreserved concurrency [1000]."
    below = f"{words} decreases account's UnreservedConcurrentExecution below its minimum value of [100]."
    assert await refused(world, "1", 1001) == (INVALID, greater)
    assert await refused(world, "1", 901) == (INVALID, below)
    await put(world, "1", 900)
    assert await refused(world, "2", 1) == (INVALID, below)
    await put(world, "1", 899)
    await put(world, "2", 1)


@pytest.mark.parametrize("operation", ["DeleteAlias", "DeleteFunction", "DeleteProvisionedConcurrencyConfig"])
async def test_it_goes_with_what_it_was_for(world, operation):
    await put(world, "live", 7)
    members = {
        "DeleteAlias": {"Name": "live"},
        "DeleteFunction": {},
        "DeleteProvisionedConcurrencyConfig": {"Qualifier": "live"},
    }[operation]
    await world.call(operation, FunctionName="f", **members)
    assert await unreserved(world) == 1000


async def test_it_goes_with_its_version(world):
    await put(world, "2", 7)
    await world.call("DeleteFunction", FunctionName="f", Qualifier="2")
    assert await unreserved(world) == 1000


async def test_writers_at_once_never_provision_more_than_there_is(world):
    answers = await asyncio.gather(
        put(world, "1", 500),
        put(world, "2", 500),
        world.call("PutFunctionConcurrency", FunctionName="f", ReservedConcurrentExecutions=600),
        return_exceptions=True,
    )
    assert any(isinstance(answer, Exception) for answer in answers)
    assert await unreserved(world) >= 100

"""Reserved concurrency: the account's last 100, the texts of refusals, and sums that hold with many writers."""

import asyncio

import pytest

from lambent.model.concurrency import CONCURRENCY_SPECS

from .conftest import SCOPE

pytestmark = pytest.mark.anyio
ARN = f"arn:aws:lambda:{SCOPE.region}:{SCOPE.account_id}:function:f"
BELOW = (
    "InvalidParameterValueException",
    "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution "
    "below its minimum value of [100].",
)


async def unreserved(world):
    return (await world.call("GetAccountSettings"))["AccountLimit"]["UnreservedConcurrentExecutions"]


async def reserve(world, amount, name="f"):
    return await world.call("PutFunctionConcurrency", FunctionName=name, ReservedConcurrentExecutions=amount)


async def test_a_share_is_set_shown_and_taken_away(world):
    await world.create_active()
    assert await world.call("GetFunctionConcurrency", FunctionName="f") == {}
    assert "Concurrency" not in await world.call("GetFunction", FunctionName="f")
    for amount in (3, 0, 900):
        share = {"ReservedConcurrentExecutions": amount}
        assert await reserve(world, amount) == share
        assert await world.call("GetFunctionConcurrency", FunctionName="f") == share
        assert (await world.call("GetFunction", FunctionName="f"))["Concurrency"] == share
        assert await unreserved(world) == 1000 - amount
    for _ in range(2):
        assert await world.call("DeleteFunctionConcurrency", FunctionName="f") == {}
    assert await world.call("GetFunctionConcurrency", FunctionName="f") == {}
    assert await unreserved(world) == 1000


async def test_a_share_is_no_part_of_the_configuration(world):
    before = await world.create_active()
    await reserve(world, 3)
    assert await world.call("GetFunctionConfiguration", FunctionName="f") == before


async def test_the_last_hundred_are_nobodys(world):
    await world.create_active()
    await world.create_active("g")
    await reserve(world, 500)
    assert await world.refusal("PutFunctionConcurrency", FunctionName="g", ReservedConcurrentExecutions=401) == BELOW
    await reserve(world, 400, "g")
    await reserve(world, 499)
    await reserve(world, 401, "g")


async def test_only_functions_that_are_there_have_a_share(world):
    await world.create_active()
    only = (
        "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. "
        "Please specify either a function name or an unqualified function ARN."
    )
    for name in (f"{ARN}:$LATEST", "f:1"):
        refused = await world.refusal("PutFunctionConcurrency", FunctionName=name, ReservedConcurrentExecutions=0)
        assert refused == ("InvalidParameterValueException", only)
    missing = ARN[:-1] + "none"
    refused = await world.refusal("PutFunctionConcurrency", FunctionName="none", ReservedConcurrentExecutions=0)
    assert refused == ("ResourceNotFoundException", f"Function not found: {missing}:$LATEST")
    refused = await world.refusal("GetFunctionConcurrency", FunctionName="none")
    assert refused == ("ResourceNotFoundException", f"Function not found: {missing}")


async def test_a_deleted_function_gives_its_share_back(world):
    await world.create_active()
    await reserve(world, 300)
    await world.call("DeleteFunction", FunctionName="f")
    assert await unreserved(world) == 1000
    await world.create_active()
    assert await world.call("GetFunctionConcurrency", FunctionName="f") == {}


async def test_writers_at_once_never_claim_more_than_there_is(world):
    names = [f"f{number}" for number in range(12)]
    for name in names:
        await world.create_active(name)
    answers = await asyncio.gather(*(reserve(world, 100, name) for name in names), return_exceptions=True)
    assert sum(not isinstance(answer, Exception) for answer in answers) == 9
    assert await unreserved(world) == 100
    (doc,) = (await world.documents.list(CONCURRENCY_SPECS)).docs
    assert sum(doc.value["reserved"].values()) == 900

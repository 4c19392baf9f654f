"""Life of a function under the commands: creation, updates, preconditions, deletion, lists."""

import asyncio
import json
from datetime import UTC, datetime

import pytest

from lambent.control.answers import render_last_modified
from lambent.control.targets import parse_marker, render_marker
from lambent.model.errors import InvalidParameterValue
from lambent.model.ids import Scope

from .conftest import SCOPE, creation

pytestmark = pytest.mark.anyio

ARN = "arn:aws:lambda:us-east-1:123456789012:function:f"
PENDING = (
    "ResourceConflictException",
    f"The operation cannot be performed at this time. The resource {ARN} is currently in the following state: "
    "'Pending'. StateReasonCode: 'Creating'",
)
IN_PROGRESS = (
    "ResourceConflictException",
    f"The operation cannot be performed at this time. An update is in progress for resource: {ARN}",
)


async def test_a_function_without_environment_shows_none(world):
    assert "Environment" not in await world.create()


async def test_an_environment_without_variables_is_shown_empty(world):
    assert (await world.create(Environment={}))["Environment"] == {"Variables": {}}


@pytest.mark.parametrize("missing", ["Runtime", "Handler"])
async def test_a_package_needs_runtime_and_handler(world, missing):
    members = creation()
    del members[missing]
    assert await world.refusal("CreateFunction", **members) == (
        "InvalidParameterValueException",
        "Runtime and Handler are mandatory parameters for functions created with deployment packages.",
    )


async def test_a_taken_name_is_refused_before_any_code_is_stored(world):
    await world.create()
    kept = set(world.packages.kept)
    refused = await world.refusal("CreateFunction", **{**creation(), "Code": {"ZipFile": b"PK-other"}})
    assert refused == ("ResourceConflictException", "Function already exist: f")
    assert world.packages.kept == kept


async def test_of_two_creations_at_once_one_wins(world):
    outcomes = await asyncio.gather(*(world.create() for _ in range(5)), return_exceptions=True)
    won = [outcome for outcome in outcomes if isinstance(outcome, dict)]
    lost = [outcome for outcome in outcomes if not isinstance(outcome, dict)]
    assert len(won) == 1
    assert {(error.code, error.message) for error in lost} == {
        ("ResourceConflictException", "Function already exist: f")
    }
    assert (await world.call("GetFunctionConfiguration", FunctionName="f"))["RevisionId"] == won[0]["RevisionId"]


async def test_a_name_with_a_qualifier_other_than_latest_is_no_name_to_create(world):
    assert (await world.refusal("CreateFunction", **creation("f:1")))[0] == "InvalidParameterValueException"
    assert (await world.create("f:$LATEST"))["FunctionName"] == "f"


async def test_nothing_can_be_updated_while_a_function_is_pending(world):
    await world.create()
    assert await world.refusal("UpdateFunctionConfiguration", FunctionName="f", Timeout=5) == PENDING
    assert await world.refusal("UpdateFunctionCode", FunctionName="f", ZipFile=b"PK-two") == PENDING


async def test_a_second_update_is_refused_while_the_first_is_under_way(world):
    await world.create_active()
    await world.call("UpdateFunctionConfiguration", FunctionName="f", Timeout=5)
    assert await world.refusal("UpdateFunctionConfiguration", FunctionName="f", Timeout=6) == IN_PROGRESS
    assert await world.refusal("UpdateFunctionCode", FunctionName="f", ZipFile=b"PK-two") == IN_PROGRESS
    await world.settle()
    assert (await world.call("UpdateFunctionConfiguration", FunctionName="f", Timeout=6))["Timeout"] == 6


UPDATES = {
    "UpdateFunctionConfiguration": lambda number: {"Description": str(number)},
    "UpdateFunctionCode": lambda number: {"ZipFile": b"PK" + bytes(number)},
}


@pytest.mark.parametrize("operation", UPDATES)
async def test_of_two_updates_at_once_one_wins(world, operation):
    active = await world.create_active()
    updates = [world.call(operation, FunctionName="f", **UPDATES[operation](number)) for number in range(5)]
    outcomes = await asyncio.gather(*updates, return_exceptions=True)
    (won,) = [outcome for outcome in outcomes if isinstance(outcome, dict)]
    assert {(error.code, error.message) for error in outcomes if not isinstance(error, dict)} == {IN_PROGRESS}
    assert await world.call("GetFunctionConfiguration", FunctionName="f") == won
    assert won["RevisionId"] != active["RevisionId"]


async def test_the_same_values_again_still_make_a_new_revision(world):
    active = await world.create_active(Timeout=7)
    updated = await world.call("UpdateFunctionConfiguration", FunctionName="f", Timeout=7)
    await world.settle()
    settled = await world.call("GetFunctionConfiguration", FunctionName="f")
    assert updated["LastUpdateStatus"] == "InProgress"
    assert len({active["RevisionId"], updated["RevisionId"], settled["RevisionId"]}) == 3


async def test_members_left_out_of_an_update_stay(world):
    await world.create_active(Description="d", MemorySize=256, Environment={"Variables": {"A": "1"}})
    await world.call("UpdateFunctionConfiguration", FunctionName="f", Timeout=9)
    now = await world.call("GetFunctionConfiguration", FunctionName="f")
    assert (now["Description"], now["MemorySize"], now["Timeout"]) == ("d", 256, 9)
    assert now["Environment"] == {"Variables": {"A": "1"}}


@pytest.mark.parametrize("operation", ["UpdateFunctionConfiguration", "UpdateFunctionCode"])
async def test_a_stale_revision_id_is_refused(world, operation):
    await world.create_active()
    change = {"Timeout": 5} if operation.endswith("Configuration") else {"ZipFile": b"PK-two"}
    assert await world.refusal(operation, FunctionName="f", RevisionId="old", **change) == (
        "PreconditionFailedException",
        "The Revision Id provided does not match the latest Revision Id. "
        "Call the GetFunction/GetAlias API to retrieve the latest Revision Id",
    )


async def test_a_dry_run_of_new_code_shows_it_and_changes_nothing(world):
    before = await world.create_active()
    shown = await world.call("UpdateFunctionCode", FunctionName="f", ZipFile=b"PK-other", DryRun=True)
    assert shown["CodeSize"] == len(b"PK-other")
    assert await world.call("GetFunctionConfiguration", FunctionName="f") == before


async def test_image_uri_is_refused_for_a_zip_function(world):
    await world.create_active()
    assert (await world.refusal("UpdateFunctionCode", FunctionName="f", ImageUri="a/b:c"))[1] == (
        "Please don't provide ImageUri when updating a function with packageType Zip."
    )


async def test_code_comes_from_an_object_and_its_version(world):
    world.bucket.objects["k.zip", "v2"] = b"PK-from-s3"
    code = {"S3Bucket": "code", "S3Key": "k.zip", "S3ObjectVersion": "v2"}
    assert (await world.create(Code=code))["CodeSize"] == len(b"PK-from-s3")


@pytest.mark.parametrize(
    ("bucket", "text"),
    [
        ("nowhere", "S3 Error Code: NoSuchBucket. S3 Error Message: The specified bucket does not exist"),
        ("code", "S3 Error Code: NoSuchKey. S3 Error Message: The specified key does not exist."),
    ],
)
async def test_what_s3_refuses_is_told_in_its_words(world, bucket, text):
    # Recorded from AWS, November 2025: test_lambda_code_location_s3_errors.
    expected = ("InvalidParameterValueException", f"Error occurred while GetObject. {text}")
    code = {"S3Bucket": bucket, "S3Key": "k.zip"}
    assert await world.refusal("CreateFunction", **{**creation(), "Code": code}) == expected
    await world.create_active()
    assert await world.refusal("UpdateFunctionCode", FunctionName="f", **code) == expected


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ({}, "Please provide a source for function code."),
        ({"S3Bucket": "code"}, "Please provide a source for function code."),
        (
            {"ZipFile": b"PK", "S3Bucket": "code"},
            "Please do not provide other FunctionCode parameters when providing a ZipFile.",
        ),
    ],
)
async def test_code_has_exactly_one_source(world, code, text):
    assert (await world.refusal("CreateFunction", **{**creation(), "Code": code}))[1] == text


async def test_direct_upload_is_limited_and_s3_is_not(world):
    big = b"PK" + bytes(52_428_800)
    assert await world.refusal("CreateFunction", **{**creation(), "Code": {"ZipFile": big}}) == (
        "RequestEntityTooLargeException",
        "Zipped size must be smaller than 52428800 bytes",
    )
    world.bucket.objects["big", None] = big
    assert (await world.create(Code={"S3Bucket": "code", "S3Key": "big"}))["CodeSize"] == len(big)


async def test_a_function_made_again_under_its_name_starts_anew(world):
    first = await world.create_active()
    assert await world.call("DeleteFunction", FunctionName="f") == {"StatusCode": 204}
    again = await world.create()
    assert (again["State"], "LastUpdateStatus" in again) == ("Pending", False)
    assert (await world.call("GetFunctionConfiguration", FunctionName="f"))["State"] == "Pending"
    await world.settle("f")
    now = await world.call("GetFunctionConfiguration", FunctionName="f")
    assert (now["State"], now["RevisionId"] != first["RevisionId"]) == ("Active", True)


async def test_deleting_a_version_that_is_not_there_deletes_nothing(world):
    await world.create_active()
    assert await world.call("DeleteFunction", FunctionName="f", Qualifier="7") == {"StatusCode": 204}
    assert (await world.call("GetFunctionConfiguration", FunctionName="f"))["State"] == "Active"


@pytest.mark.parametrize("operation", ["UpdateFunctionCode", "UpdateFunctionConfiguration", "GetFunction"])
async def test_a_version_or_an_alias_is_not_found(world, operation):
    await world.create_active()
    for qualifier in ("7", "live"):
        assert await world.refusal(operation, FunctionName=f"f:{qualifier}") == (
            "ResourceNotFoundException",
            f"Function not found: {ARN}:{qualifier}",
        )


async def test_latest_said_aloud_shows_the_qualified_arn(world):
    await world.create_active()
    assert (await world.call("GetFunction", FunctionName="f"))["Configuration"]["FunctionArn"] == ARN
    said = await world.call("GetFunction", FunctionName="f", Qualifier="$LATEST")
    assert said["Configuration"]["FunctionArn"] == f"{ARN}:$LATEST"


async def test_the_code_has_a_location_and_tags_show_only_when_there_are_some(world):
    await world.create_active()
    answer = await world.call("GetFunction", FunctionName="f")
    assert answer["Code"]["Location"].startswith("http://127.0.0.1:4566/code/f/")
    assert "Tags" not in answer
    await world.create_active("g", Tags={"b": "2", "a": "1"})
    assert (await world.call("GetFunction", FunctionName="g"))["Tags"] == {"a": "1", "b": "2"}


async def test_a_command_answers_when_the_data_plane_has_seen_its_change(world):
    await world.create()
    await world.settle()
    world.applied.clear()
    await world.call("UpdateFunctionConfiguration", FunctionName="f", Timeout=5)
    await world.call("DeleteFunction", FunctionName="f")
    assert [key for key, _ in world.applied] == ["spec/function/123456789012/us-east-1/f"] * 2
    assert world.applied[0][1] < world.applied[1][1]


async def test_functions_of_another_account_or_region_are_not_there(world):
    await world.create_active()
    for scope in (Scope("123456789012", "eu-west-1"), Scope("210987654321", "us-east-1")):
        assert (await world.refusal("GetFunction", scope, FunctionName="f"))[0] == "ResourceNotFoundException"
        assert await world.call("ListFunctions", scope) == {"Functions": []}


async def test_a_list_shows_at_most_fifty_a_page_and_every_function_once(world):
    for number in range(120):
        await world.create(f"f{number:03}")
    seen, marker, sizes = [], None, []
    while True:
        members = {"Marker": marker} if marker else {}
        page = await world.call("ListFunctions", MaxItems=1000, **members)
        seen += [entry["FunctionName"] for entry in page["Functions"]]
        sizes.append(len(page["Functions"]))
        if (marker := page.get("NextMarker")) is None:
            break
    assert sizes == [50, 50, 20]
    assert seen == [f"f{number:03}" for number in range(120)]


async def test_max_items_makes_smaller_pages(world):
    for name in "abc":
        await world.create(name)
    page = await world.call("ListFunctions", MaxItems=2)
    assert [entry["FunctionName"] for entry in page["Functions"]] == ["a", "b"]
    rest = await world.call("ListFunctions", MaxItems=2, Marker=page["NextMarker"])
    assert [entry["FunctionName"] for entry in rest["Functions"]] == ["c"]
    assert "NextMarker" not in rest


async def test_entries_of_a_list_lack_state_and_runtime_version(world):
    active = await world.create_active()
    (entry,) = (await world.call("ListFunctions"))["Functions"]
    absent = {"State", "LastUpdateStatus", "RuntimeVersionConfig"}
    assert entry == {name: value for name, value in active.items() if name not in absent}


async def test_all_versions_show_the_qualified_arn(world):
    await world.create()
    (entry,) = (await world.call("ListFunctions", FunctionVersion="ALL"))["Functions"]
    assert entry["FunctionArn"] == f"{ARN}:$LATEST"


@pytest.mark.parametrize("marker", ["x", "%%%", "ZiB4", render_marker("a/b"), render_marker("a" * 141)])
async def test_a_marker_that_is_none_of_ours_is_refused(world, marker):
    assert await world.refusal("ListFunctions", Marker=marker) == ("InvalidParameterValueException", "Invalid marker.")


def test_a_marker_comes_back():
    assert parse_marker(render_marker("a-b_C9")) == "a-b_C9"
    with pytest.raises(InvalidParameterValue):
        parse_marker("")


def test_the_time_of_the_last_change_has_milliseconds_and_an_offset():
    at = datetime(2026, 1, 2, 3, 4, 5, 67_890, tzinfo=UTC)
    assert render_last_modified(at) == "2026-01-02T03:04:05.067+0000"


async def test_account_settings_count_what_is_there(world):
    await world.create("a")
    await world.create("b", Code={"ZipFile": b"PK-longer"})
    settings = await world.call("GetAccountSettings")
    assert settings["AccountUsage"] == {"FunctionCount": 2, "TotalCodeSize": len(b"PK-one") + len(b"PK-longer")}
    assert settings["AccountLimit"]["TotalCodeSize"] == 80_530_636_800


async def test_variables_are_never_stored_in_clear_text(world):
    await world.create_active(Environment={"Variables": {"PASSWORD": "swordfish-77"}})
    stored = json.dumps(world.documents.history)
    assert "swordfish-77" not in stored
    assert "PASSWORD" not in stored


async def test_variables_that_cannot_be_opened_show_an_error_and_the_rest_still_answers(world):
    await world.create(Environment={"Variables": {"A": "1"}})
    await world.create("g")
    spoilt = {**await world.stored(), "sealed_environment": "bm90IG91cnM="}
    await world.documents.put("spec/function/123456789012/us-east-1/f", spoilt)
    entries = (await world.call("ListFunctions"))["Functions"]
    assert entries[0]["Environment"]["Error"]["ErrorCode"] == "AccessDeniedException"
    assert entries[1]["FunctionName"] == "g"


async def test_a_change_of_tags_is_no_update(world):
    active = await world.create_active()
    before = await world.stored()
    await world.call("TagResource", Resource=ARN, Tags={"a": "1"})
    assert await world.stored() == {**before, "tags": [["a", "1"]]}
    assert await world.call("GetFunctionConfiguration", FunctionName="f") == active


async def test_two_writers_of_tags_both_get_theirs(world):
    await world.create_active()
    await asyncio.gather(*(world.call("TagResource", Resource=ARN, Tags={str(n): "x"}) for n in range(10)))
    assert set((await world.call("ListTags", Resource=ARN))["Tags"]) == {str(n) for n in range(10)}


@pytest.mark.parametrize("tags", [{}, {"aws:x": "1"}, {"AWS:x": "1", "b": "2"}])
async def test_tags_that_aws_does_not_take_are_refused(world, tags):
    await world.create_active()
    assert await world.refusal("TagResource", Resource=ARN, Tags=tags) == (
        "InvalidParameterValueException",
        "An error occurred and the request cannot be processed.",
    )


def test_the_account_of_these_tests_is_the_one_in_their_arns():
    assert SCOPE.arn("lambda", "function:f") == ARN

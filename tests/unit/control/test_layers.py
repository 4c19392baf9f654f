"""Layers: published, read, listed, deleted, in AWS's shapes and words."""

import asyncio
import io
import zipfile

import pytest

from lambent.model.ids import Scope
from lambent.reconcile.collection import PackageCollector

from .conftest import SCOPE

pytestmark = pytest.mark.anyio
ARN = f"arn:aws:lambda:{SCOPE.region}:{SCOPE.account_id}:layer:l"
MISSING = ("ResourceNotFoundException", "The resource you requested does not exist.")


def package(text="x = 1"):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("python/m.py", text)
    return {"ZipFile": buffer.getvalue()}


async def publish(world, name="l", **members):
    return await world.call("PublishLayerVersion", LayerName=name, **{"Content": package(), **members})


async def test_a_version_is_answered_as_aws_does(world):
    made = await publish(world, CompatibleRuntimes=[], CompatibleArchitectures=["x86_64"], LicenseInfo="MIT")
    assert made.pop("Content").keys() == {"Location", "CodeSha256", "CodeSize"}
    assert made == {
        "LayerArn": ARN,
        "LayerVersionArn": f"{ARN}:1",
        "Version": 1,
        "Description": "",
        "CreatedDate": made["CreatedDate"],
        "CompatibleRuntimes": [],
        "CompatibleArchitectures": ["x86_64"],
        "LicenseInfo": "MIT",
    }
    for read in (
        await world.call("GetLayerVersion", LayerName="l", VersionNumber=1),
        await world.call("GetLayerVersion", LayerName=ARN, VersionNumber=1),
        await world.call("GetLayerVersionByArn", Arn=f"{ARN}:1"),
    ):
        assert {name: read[name] for name in made} == made


async def test_numbers_are_never_reused_and_writers_at_once_get_one_each(world):
    made = await asyncio.gather(*(publish(world) for _ in range(5)))
    assert sorted(each["Version"] for each in made) == [1, 2, 3, 4, 5]
    for number in (1, 2, 3, 4, 5, 5):
        assert await world.call("DeleteLayerVersion", LayerName="l", VersionNumber=number) == {}
    assert await world.call("ListLayers") == {"Layers": []}
    assert (await publish(world))["Version"] == 6


async def test_lists_go_by_pages_newest_version_first_and_heed_filters(world):
    for runtimes in (["python3.12"], ["nodejs24.x"], None):
        await publish(world, **({"CompatibleRuntimes": runtimes} if runtimes else {}))
    await publish(world, "m" * 140)
    await publish(world, "z")
    page = await world.call("ListLayerVersions", LayerName="l", MaxItems=2)
    assert [each["Version"] for each in page["LayerVersions"]] == [3, 2]
    rest = await world.call("ListLayerVersions", LayerName="l", MaxItems=2, Marker=page["NextMarker"])
    assert ([each["Version"] for each in rest["LayerVersions"]], "NextMarker" in rest) == ([1], False)
    layers = await world.call("ListLayers", MaxItems=2)
    assert [each["LatestMatchingVersion"]["Version"] for each in layers["Layers"]] == [3, 1]
    rest = await world.call("ListLayers", MaxItems=2, Marker=layers["NextMarker"])
    assert [each["LayerName"] for each in rest["Layers"]] == ["z"]
    matching = await world.call("ListLayers", CompatibleRuntime="python3.12")
    assert [each["LatestMatchingVersion"]["LayerVersionArn"] for each in matching["Layers"]] == [f"{ARN}:1"]
    assert await world.call("ListLayerVersions", LayerName="none") == {"LayerVersions": []}


async def test_what_is_not_there_and_what_is_anothers_is_refused_in_awss_words(world):
    await publish(world)
    below = ("InvalidParameterValueException", "Layer Version Cannot be less than 1")
    assert await world.refusal("GetLayerVersion", LayerName="l", VersionNumber=0) == below
    assert await world.refusal("DeleteLayerVersion", LayerName="l", VersionNumber=0) == below
    assert await world.refusal("GetLayerVersion", LayerName="l", VersionNumber=2) == MISSING
    assert await world.refusal("GetLayerVersionByArn", Arn=f"{ARN}:2") == MISSING
    other = Scope("210987654321", SCOPE.region)
    assert await world.refusal("GetLayerVersion", other, LayerName=ARN, VersionNumber=1) == (
        "AccessDeniedException",
        f"User: arn:aws:iam::210987654321:user/u is not authorized to perform: lambda:GetLayerVersion on resource: "
        f"{ARN}:1 because no resource-based policy allows the lambda:GetLayerVersion action",
    )


async def test_the_package_of_a_version_is_kept_until_the_version_is_deleted(world):
    await publish(world)
    kept = []

    class Trees:
        async def collect(self, keep):
            kept.append(len(keep))
            return 0

    collector = PackageCollector(world.documents, Trees(), world.clock)
    await collector.collect_once()
    await world.call("DeleteLayerVersion", LayerName="l", VersionNumber=1)
    await collector.collect_once()
    assert kept == [1, 0]

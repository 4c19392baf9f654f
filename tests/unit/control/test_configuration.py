"""Members of a configuration: AWS's rules, what is not built yet, and the table of both."""

import json
from pathlib import Path

import botocore.session
import pytest

from lambent.control.built import covered_operations, find_coverage
from lambent.control.coverage import render_coverage
from lambent.control.quotas import RESERVED_VARIABLES, SNAPSTART_RUNTIMES

from .conftest import creation

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]
BEYOND_DEFAULT = [
    ("Layers", ["arn:aws:lambda:us-east-1:123456789012:layer:l:1"]),
    ("VpcConfig", {"SubnetIds": ["subnet-1"], "SecurityGroupIds": []}),
    ("VpcConfig", {"Ipv6AllowedForDualStack": True}),
    ("FileSystemConfigs", [{"Arn": "arn:x", "LocalMountPath": "/mnt/x"}]),
    ("CapacityProviderConfig", {"LambdaManagedInstancesCapacityProviderConfig": {"CapacityProviderArn": "arn:x"}}),
    ("DurableConfig", {"ExecutionTimeout": 60}),
    ("TenancyConfig", {"TenantIsolationMode": "PER_TENANT"}),
    ("ImageConfig", {"Command": ["a"]}),
    ("PackageType", "Image"),
    ("KMSKeyArn", "arn:aws:kms:us-east-1:123456789012:key/k"),
    ("CodeSigningConfigArn", "arn:aws:lambda:us-east-1:123456789012:code-signing-config:csc-1"),
    ("Architectures", ["arm64"]),
    ("TracingConfig", {"Mode": "Active"}),
    ("PublishTo", "LATEST_PUBLISHED"),
    ("RuntimeConfig", {"RuntimeArn": "a", "RuntimeAlias": "b"}),
    ("AcceleratorConfig", {"AcceleratorMemorySize": 1}),
    ("PlantedByANewerModel", "x"),
]
AT_DEFAULT = {
    "Layers": [],
    "VpcConfig": {"SubnetIds": [], "SecurityGroupIds": [], "Ipv6AllowedForDualStack": False},
    "FileSystemConfigs": [],
    "DeadLetterConfig": {"TargetArn": ""},
    "ImageConfig": {"EntryPoint": [], "Command": []},
    "PackageType": "Zip",
    "KMSKeyArn": "",
    "Architectures": ["x86_64"],
    "TracingConfig": {"Mode": "PassThrough"},
    "Publish": False,
    "SnapStart": {"ApplyOn": "None"},
}


@pytest.mark.parametrize(("member", "value"), BEYOND_DEFAULT)
async def test_a_member_that_is_not_built_is_refused_in_words(world, member, value):
    expected = ("InvalidParameterValueException", f"{member} is not supported yet")
    assert await world.refusal("CreateFunction", **{**creation(), member: value}) == expected
    assert world.documents.history == []
    if member in botocore_members("UpdateFunctionConfiguration"):
        await world.create_active()
        assert await world.refusal("UpdateFunctionConfiguration", FunctionName="f", **{member: value}) == expected


async def test_members_at_their_defaults_are_taken(world):
    plain, explicit = await world.create("a"), await world.create("b", **AT_DEFAULT)
    differing = {name for name in plain if plain[name] != explicit[name]}
    assert differing == {"FunctionName", "FunctionArn", "RevisionId", "LoggingConfig"}
    assert set(plain) == set(explicit)


@pytest.mark.parametrize(
    ("member", "value"), [("S3ObjectStorageMode", "REFERENCE"), ("ImageUri", "a/b"), ("SourceKMSKeyArn", "arn:a:b:c")]
)
async def test_a_way_to_give_code_that_is_not_built_is_refused_in_words(world, member, value):
    code = {"ZipFile": b"PK", member: value}
    assert (await world.refusal("CreateFunction", **{**creation(), "Code": code}))[1] == (
        f"Code.{member} is not supported yet"
    )


@pytest.mark.parametrize(
    ("member", "path", "limit"), [("Timeout", "timeout", 900), ("MemorySize", "memorySize", 10_240)]
)
async def test_bounds_are_those_of_ordinary_functions(world, member, path, limit):
    assert await world.refusal("CreateFunction", **{**creation(), member: limit + 1}) == (
        "ValidationException",
        f"1 validation error detected: Value '{limit + 1}' at '{path}' failed to satisfy constraint: "
        f"Member must have value less than or equal to {limit}",
    )
    assert (await world.create(**{member: limit}))[member] == limit


async def test_an_unknown_runtime_is_refused_on_creation_and_update(world):
    assert (await world.refusal("CreateFunction", **{**creation(), "Runtime": "cobol85"}))[1].startswith(
        "Value cobol85 at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: ["
    )
    await world.create_active()
    assert (await world.refusal("UpdateFunctionConfiguration", FunctionName="f", Runtime="cobol85"))[0] == (
        "InvalidParameterValueException"
    )


@pytest.mark.parametrize("name", sorted(RESERVED_VARIABLES))
async def test_a_reserved_variable_is_refused(world, name):
    variables = {"MINE": "1", name: "x"}
    assert (await world.refusal("CreateFunction", **{**creation(), "Environment": {"Variables": variables}}))[1] == (
        "Lambda was unable to configure your environment variables because the environment variables you have provided "
        "contains reserved keys that are currently not supported for modification. "
        f"Reserved keys used in this request: {name}"
    )


async def test_what_no_process_environment_can_hold_is_refused(world):
    variables = {"OK": "1", "BAD": "a\0b"}
    assert (await world.refusal("CreateFunction", **{**creation(), "Environment": {"Variables": variables}}))[1] == (
        "Lambda was unable to configure your environment variables because the environment variables you have provided "
        "contains null characters. Keys with them: BAD"
    )
    assert await world.refusal("CreateFunction", **{**creation(), "Handler": "a.b\0"}) == (
        "ValidationException",
        "1 validation error detected: Value 'a.b\0' at 'handler' failed to satisfy constraint: "
        r"Member must satisfy regular expression pattern: [^\s]+",
    )


@pytest.mark.parametrize("filler", ["x", "é", '"'])
async def test_four_kibibytes_of_compact_json_pass_and_one_byte_more_does_not(world, filler):
    frame = len(json.dumps({"A": "", "B": ""}, separators=(",", ":")))
    each = len(json.dumps(filler, ensure_ascii=False).encode()) - 2
    filled, rest = divmod(4096 - frame, each)
    variables = {"A": filler * filled, "B": "-" * rest}
    assert (await world.create(Environment={"Variables": variables}))["Environment"]["Variables"] == variables
    variables["B"] += "-"
    refused = await world.refusal("CreateFunction", **{**creation("g"), "Environment": {"Variables": variables}})
    measured = json.dumps(variables, separators=(",", ":"), ensure_ascii=False)
    assert refused[1].endswith(f"exceeded the 4KB limit. String measured: {measured}")


@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        pytest.param({}, {}, {"LogFormat": "Text"}, id="nothing-said"),
        pytest.param(
            {},
            {"LogFormat": "JSON"},
            {"LogFormat": "JSON", "ApplicationLogLevel": "INFO", "SystemLogLevel": "INFO"},
            id="json-without-levels",
        ),
        pytest.param(
            {"LogFormat": "JSON", "SystemLogLevel": "WARN"},
            {"ApplicationLogLevel": "DEBUG"},
            {"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG", "SystemLogLevel": "WARN"},
            id="one-level-keeps-the-other",
        ),
        pytest.param(
            {"LogFormat": "JSON", "SystemLogLevel": "WARN"},
            {"LogFormat": "Text"},
            {"LogFormat": "Text"},
            id="text-forgets-levels",
        ),
        pytest.param(
            {"LogGroup": "g"}, {"LogFormat": "Text"}, {"LogFormat": "Text", "LogGroup": "g"}, id="group-stays"
        ),
    ],
)
async def test_logging_is_changed_member_by_member(world, before, change, after):
    await world.create_active(LoggingConfig=before)
    answer = await world.call("UpdateFunctionConfiguration", FunctionName="f", LoggingConfig=change)
    assert answer["LoggingConfig"] == {"LogGroup": "/aws/lambda/f", **after}


@pytest.mark.parametrize("level", [{"ApplicationLogLevel": "INFO"}, {"SystemLogLevel": "INFO"}])
async def test_levels_need_json(world, level):
    assert (await world.refusal("CreateFunction", **{**creation(), "LoggingConfig": level}))[1] == (
        'LogLevel is not supported when LogFormat is set to "Text". '
        'Remove LogLevel from your request or change the LogFormat to "JSON" and try again.'
    )


@pytest.mark.parametrize("runtime", ["python3.11", "nodejs22.x", "provided.al2023", "ruby3.4", "dotnet6", "java8.al2"])
async def test_snapstart_is_refused_for_runtimes_that_have_none(world, runtime):
    members = {**creation(), "Runtime": runtime, "SnapStart": {"ApplyOn": "PublishedVersions"}}
    assert await world.refusal("CreateFunction", **members) == (
        "InvalidParameterValueException",
        f"{runtime} is not supported for SnapStart enabled functions.",
    )


@pytest.mark.parametrize(
    "runtime", ["java11", "java25", "java17.al2023", "python3.12", "python3.20", "dotnet8", "dotnet10"]
)
def test_snapstart_is_for_newer_java_python_and_dotnet(runtime):
    assert SNAPSTART_RUNTIMES.fullmatch(runtime)


async def test_snapstart_is_checked_against_the_runtime_that_an_update_leaves(world):
    await world.create_active(SnapStart={"ApplyOn": "PublishedVersions"})
    refused = await world.refusal("UpdateFunctionConfiguration", FunctionName="f", Runtime="python3.11")
    assert refused[1] == "python3.11 is not supported for SnapStart enabled functions."
    both = {"Runtime": "python3.11", "SnapStart": {"ApplyOn": "None"}}
    assert (await world.call("UpdateFunctionConfiguration", FunctionName="f", **both))["Runtime"] == "python3.11"


def botocore_members(operation):
    model = botocore.session.get_session().get_service_model("lambda").operation_model(operation)
    return dict(model.input_shape.members) if model.input_shape else {}


@pytest.mark.parametrize("operation", covered_operations())
async def test_a_member_of_a_newer_service_model_is_refused_by_every_command(world, operation):
    await world.create_active()
    arn = "arn:aws:lambda:us-east-1:123456789012:function:f"
    least = {"FunctionName": "f", "Resource": arn, "Tags": {"a": "1"}, "TagKeys": ["a"]}
    members = {name: value for name, value in least.items() if name in botocore_members(operation)}
    if operation == "CreateFunction":
        members = creation("g")
    assert (await world.refusal(operation, **members, Planted="x"))[1] == "Planted is not supported yet"


@pytest.mark.parametrize("structure", ["Environment", "EphemeralStorage", "LoggingConfig", "SnapStart", "Code"])
async def test_a_member_planted_into_a_built_structure_is_refused(world, structure):
    members = {**creation(), structure: {"Planted": "x"}}
    assert (await world.refusal("CreateFunction", **members))[1] == f"{structure}.Planted is not supported yet"


@pytest.mark.parametrize("operation", covered_operations())
def test_the_table_names_every_member_of_the_service_model_and_no_other(operation):
    coverage = find_coverage(operation)
    named = {*coverage.built, *coverage.at_default}
    members = botocore_members(operation)
    nested = {path for path in named if "." in path}
    assert named - nested == set(members)
    for structure in {name for name, shape in members.items() if shape.type_name == "structure"} & {*coverage.built}:
        inner = {f"{structure}.{name}" for name in members[structure].members}
        assert inner == {path for path in nested if path.startswith(f"{structure}.")}


def test_a_member_is_built_or_at_its_default_never_both():
    for operation in covered_operations():
        coverage = find_coverage(operation)
        assert not set(coverage.built) & set(coverage.at_default), operation


def test_the_commands_are_those_of_the_table(world):
    assert set(world.commands) == set(covered_operations())


def test_the_document_of_the_table_is_up_to_date():
    assert (ROOT / "docs" / "coverage.md").read_text() == render_coverage()

"""The catalogue against the tables of the developer guide and what AWS was recorded to answer."""

import re
from datetime import UTC, datetime

import pytest

from lambent.model.errors import InvalidParameterValue
from lambent.runtimes.catalogue import Family, RuntimeCatalogue

NOW = datetime(2026, 11, 23, tzinfo=UTC)
# Recorded from AWS in March 2026.
RECORDED = [
    "nodejs20.x", "python3.14", "provided.al2023", "python3.12", "python3.13", "nodejs24.x", "nodejs22.x", "java25",
    "python3.10", "python3.11", "java21", "ruby3.3", "ruby3.4", "ruby3.2", "python3.8", "python3.9", "java17",
    "nodejs16.x", "dotnet10", "dotnet8", "java11", "dotnet6", "nodejs18.x", "provided.al2", "java8.al2",
]  # fmt: skip
BLOCKED = ["java8", "go1.x", "provided", "ruby2.7", "nodejs12.x", "nodejs14.x", "python3.7", "dotnetcore3.1"]


@pytest.fixture(scope="module")
def catalogue():
    return RuntimeCatalogue.load()


def refusal(act, *args) -> str:
    with pytest.raises(InvalidParameterValue) as caught:
        act(*args)
    assert (caught.value.code, caught.value.kind) == ("InvalidParameterValueException", "User")
    return caught.value.message


@pytest.mark.parametrize("identifier", [*RECORDED, "ruby4.0", "nodejs26.x", "python3.15", "java17.al2023"])
def test_what_aws_accepts_is_accepted(identifier, catalogue):
    catalogue.require_creatable(identifier, NOW)
    catalogue.require_updatable(identifier, NOW)


@pytest.mark.parametrize("identifier", ["non-existent-runtime", "PYTHON3.9", "custom", "", "python3.120"])
def test_unknown_identifiers_get_the_list_in_the_order_of_aws(identifier, catalogue):
    message = refusal(catalogue.require_creatable, identifier, NOW)
    match = re.fullmatch(
        r"Value (.*) at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: \[(.*)\] or be a "
        r"valid ARN",
        message,
    )
    assert match[1] == identifier
    assert match[2].split(", ")[: len(RECORDED)] == RECORDED


@pytest.mark.parametrize("identifier", BLOCKED)
def test_blocked_runtimes_are_refused_in_the_words_of_aws(identifier, catalogue):
    assert refusal(catalogue.require_creatable, identifier, NOW) == (
        f"The runtime parameter of {identifier} is no longer supported for creating or updating AWS Lambda functions. "
        "We recommend you use a supported runtime while creating or updating functions."
    )


def test_blocks_begin_on_their_day(catalogue):
    last, first = datetime(2027, 1, 31, 23, 59, tzinfo=UTC), datetime(2027, 2, 1, tzinfo=UTC)
    catalogue.require_creatable("nodejs18.x", last)
    assert "no longer supported" in refusal(catalogue.require_creatable, "nodejs18.x", first)
    catalogue.require_updatable("nodejs18.x", first)
    assert "no longer supported" in refusal(catalogue.require_updatable, "nodejs18.x", datetime(2027, 3, 3, tzinfo=UTC))
    assert "nodejs18.x" not in refusal(catalogue.require_creatable, "x", first)


def test_dates_stand_in_order(catalogue):
    for identifier in catalogue.identifiers:
        runtime = catalogue.find(identifier)
        dates = [runtime.deprecated_on, runtime.create_blocked_on, runtime.update_blocked_on]
        assert dates in ([None] * 3, sorted(each for each in dates if each))


@pytest.mark.parametrize(
    ("identifier", "family", "version", "text"),
    [
        ("python3.13", Family.PYTHON, "3.13", "python:3.13.v1"),
        ("nodejs22.x", Family.NODEJS, "22", "nodejs:22.v1"),
        ("java8.al2", Family.JAVA, "8", "java:8.v1"),
        ("dotnetcore3.1", Family.DOTNET, "3.1", "dotnet:3.1.v1"),
        ("provided.al2023", Family.PROVIDED, "al2023", "provided:al2023.v1"),
    ],
)
def test_versions_are_those_of_the_language(identifier, family, version, text, catalogue):
    runtime = catalogue.find(identifier)
    assert (runtime.family, runtime.version, runtime.version_text) == (family, version, text)


def test_version_arns_are_stable_and_differ_by_runtime(catalogue):
    arns = [catalogue.version_arn(identifier, "eu-west-1") for identifier in catalogue.identifiers]
    assert all(re.fullmatch(r"arn:aws:lambda:eu-west-1::runtime:[0-9a-f]{64}", arn) for arn in arns)
    assert len(set(arns)) == len(arns)
    assert catalogue.version_arn("python3.13", "cn-north-1").startswith("arn:aws-cn:lambda:cn-north-1::runtime:")
    assert arns == [RuntimeCatalogue.load().version_arn(each, "eu-west-1") for each in catalogue.identifiers]


@pytest.mark.parametrize(
    ("identifier", "names", "expected"),
    [
        ("python3.13", ["STAGE", "PYTHONUNBUFFERED", "NODE_OPTIONS"], ("PYTHONUNBUFFERED",)),
        ("nodejs22.x", ["STAGE", "NODE_EXTRA_CA_CERTS", "UV_THREADPOOL_SIZE"],
         ("NODE_EXTRA_CA_CERTS", "UV_THREADPOOL_SIZE")),
        ("python3.13", ["LD_PRELOAD", "MALLOC_ARENA_MAX", "LC_ALL", "AWS_LAMBDA_EXEC_WRAPPER"],
         ("LD_PRELOAD", "MALLOC_ARENA_MAX", "LC_ALL", "AWS_LAMBDA_EXEC_WRAPPER")),
        ("provided.al2023", ["STAGE"], ("STAGE",)),
    ],
)  # fmt: skip
def test_variables_that_act_before_main_are_named(identifier, names, expected, catalogue):
    assert catalogue.find(identifier).find_early_variables(names) == expected


def test_custom_runtimes_bring_their_program(catalogue):
    assert catalogue.find("provided.al2023").bootstrap_candidates == ("/var/task/bootstrap", "/opt/bootstrap")
    assert catalogue.find("python3.13").bootstrap_candidates == ()

"""Documents of functions: round trips, schema, fields of later releases, and how a status is joined to its spec."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.model import documents
from lambent.model.documents import (
    CodeSpec,
    FileSystemSpec,
    FunctionSpec,
    FunctionStatus,
    S3Origin,
    State,
    UpdateStatus,
    VpcSpec,
    function_spec_key,
    function_status_key,
    function_version,
    joined_status,
    live_spec,
    parse_function_key,
    parse_function_spec,
    parse_function_status,
    render_function_spec,
    render_function_status,
)
from lambent.model.errors import HostError
from lambent.model.functions import LogSettings
from lambent.model.ids import Digest, RevisionId, Scope

SCOPE = Scope("123456789012", "eu-west-1")
texts = st.text(max_size=20)
optional = st.none() | texts
revisions = st.uuids().map(lambda value: RevisionId(str(value)))
instants = st.datetimes(timezones=st.just(UTC))
scopes = st.builds(Scope, st.from_regex(r"[0-9]{12}", fullmatch=True), st.sampled_from(["us-east-1", "cn-north-1"]))
names = st.from_regex(r"[a-zA-Z0-9-_]{1,64}", fullmatch=True)
codes = st.builds(
    CodeSpec,
    digest=st.from_regex(r"[0-9a-f]{64}", fullmatch=True).map(Digest),
    sha256_base64=texts,
    zip_bytes=st.integers(0, 2**40),
    unzipped_bytes=st.integers(0, 2**40),
    s3=st.none() | st.builds(S3Origin, bucket=texts, key=texts, version=optional),
)
specs = st.builds(
    FunctionSpec,
    scope=scopes,
    name=names,
    generation=st.integers(1, 2**53),
    first_generation=st.integers(1, 2**53),
    revision_id=revisions,
    last_modified_at=instants,
    role=texts,
    handler=optional,
    runtime=optional,
    description=texts,
    timeout_s=st.integers(1, 900),
    memory_mib=st.integers(128, 10240),
    tmp_mib=st.integers(512, 10240),
    architectures=st.sampled_from([("x86_64",), ("arm64",)]),
    layers=st.lists(texts, max_size=5).map(tuple),
    log=st.builds(LogSettings, group=texts, is_json=st.booleans(), application_level=optional, system_level=optional),
    vpc=st.none() | st.builds(VpcSpec, subnet_ids=st.lists(texts, max_size=3).map(tuple), vpc_id=texts),
    dead_letter_target=optional,
    file_systems=st.lists(st.builds(FileSystemSpec, arn=texts, local_mount_path=texts), max_size=1).map(tuple),
    kms_key=optional,
    sealed_environment=optional,
    code=codes,
    tags=st.dictionaries(texts, texts, max_size=4).map(lambda tags: tuple(sorted(tags.items()))),
)
statuses = st.builds(
    FunctionStatus,
    generation=st.integers(1, 2**53),
    first_generation=st.integers(1, 2**53),
    live=st.none() | specs,
    state=st.sampled_from(State),
    state_reason=optional,
    state_reason_code=optional,
    last_update_status=st.none() | st.sampled_from(UpdateStatus),
    last_update_status_reason=optional,
    last_update_status_reason_code=optional,
    revision_id=revisions,
    runtime_version_arn=optional,
)


def spec(**changes: object) -> FunctionSpec:
    """A small spec."""
    code = CodeSpec(digest=Digest("a" * 64), sha256_base64="q", zip_bytes=7, unzipped_bytes=9)
    first = FunctionSpec(
        scope=SCOPE,
        name="f",
        generation=10,
        first_generation=10,
        revision_id=RevisionId("of-the-spec"),
        last_modified_at=datetime(2026, 11, 23, tzinfo=UTC),
        role="arn:aws:iam::123456789012:role/r",
        runtime="python3.13",
        handler="a.b",
        log=LogSettings(group="/aws/lambda/f"),
        code=code,
    )
    return replace(first, **changes)


def settled(of: FunctionSpec, **changes: object) -> FunctionStatus:
    """The status of a function that is ready."""
    status = FunctionStatus(
        generation=of.generation,
        first_generation=of.first_generation,
        live=of,
        state=State.ACTIVE,
        last_update_status=UpdateStatus.SUCCESSFUL,
        revision_id=RevisionId("of-the-status"),
    )
    return replace(status, **changes)


def through_json(value: object) -> object:
    return json.loads(json.dumps(value))


@given(specs)
def test_a_spec_comes_back_from_its_document(value):
    document = render_function_spec(value)
    assert through_json(document) == document
    assert parse_function_spec(through_json(document)) == value


@given(statuses)
def test_a_status_comes_back_from_its_document(value):
    document = render_function_status(value)
    assert through_json(document) == document
    assert parse_function_status(through_json(document)) == value


@given(scopes, names)
def test_a_key_names_its_function(scope, name):
    assert parse_function_key(function_spec_key(scope, name)) == (scope, name, "$LATEST")
    assert parse_function_key(function_status_key(scope, name)) == (scope, name, "$LATEST")


def test_a_foreign_key_is_refused():
    with pytest.raises(HostError):
        parse_function_key("spec/alias/123456789012/eu-west-1/f")


def test_fields_of_a_later_release_survive_a_rewrite_at_any_depth():
    document = render_function_spec(spec())
    document["accelerator"] = {"memory": 5}
    document["code"]["mode"] = "REFERENCE"
    changed = replace(parse_function_spec(document), description="new")
    again = render_function_spec(changed)
    assert again["accelerator"] == {"memory": 5}
    assert again["code"]["mode"] == "REFERENCE"
    assert again["description"] == "new"


def test_fields_of_a_later_release_survive_inside_the_live_spec():
    document = render_function_status(settled(spec()))
    document["live"]["accelerator"] = 1
    document["drained"] = True
    assert render_function_status(parse_function_status(document)) == document


def test_a_field_that_an_older_release_did_not_write_gets_its_default():
    document = render_function_spec(spec())
    del document["snapstart_apply_on"]
    assert parse_function_spec(document).snapstart_apply_on == "None"


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda document: document.update(schema=documents.SCHEMA + 1), id="newer-schema"),
        pytest.param(lambda document: document.pop("schema"), id="no-schema"),
        pytest.param(lambda document: document.update(timeout_s="soon"), id="wrong-type"),
        pytest.param(lambda document: document.pop("code"), id="missing-field"),
    ],
)
def test_a_document_that_cannot_be_understood_is_refused(damage):
    document = render_function_spec(spec())
    damage(document)
    with pytest.raises(HostError):
        parse_function_spec(document)


def test_a_newer_live_spec_inside_a_status_is_refused():
    document = render_function_status(settled(spec()))
    document["live"]["schema"] = documents.SCHEMA + 1
    with pytest.raises(HostError):
        parse_function_status(document)


def test_a_function_without_status_is_pending_and_has_no_last_update():
    status = joined_status(spec(), None)
    assert (status.state, status.state_reason_code) == (State.PENDING, "Creating")
    assert status.last_update_status is None
    assert status.revision_id == "of-the-spec"


def test_a_settled_function_shows_its_status():
    assert joined_status(spec(), settled(spec())) == settled(spec())


def test_an_update_under_way_keeps_the_state_and_shows_the_revision_of_the_spec():
    status = joined_status(spec(generation=11), settled(spec()))
    assert (status.state, status.last_update_status) == (State.ACTIVE, UpdateStatus.IN_PROGRESS)
    assert status.revision_id == "of-the-spec"


def test_the_status_of_a_deleted_namesake_says_nothing():
    reborn = spec(generation=5, first_generation=5)
    assert joined_status(reborn, settled(spec())).state is State.PENDING
    assert live_spec(reborn, settled(spec())) is None


def test_invocations_keep_the_last_good_spec_while_an_update_runs():
    assert live_spec(spec(generation=11, description="new"), settled(spec())) == spec()


def test_a_version_carries_what_the_spec_says():
    version = function_version(spec(timeout_s=9), (("A", "1"),))
    assert (version.arn, version.timeout_s) == ("arn:aws:lambda:eu-west-1:123456789012:function:f:$LATEST", 9)
    assert (version.environment, version.code_bytes) == ((("A", "1"),), 7)
    assert "environment" not in repr(version)

"""Who am I, and let me be another role: the answers of STS."""

from datetime import timedelta

import pytest

from lambent.access.role_credentials import RoleCredentials
from lambent.access.sts import UNSUPPORTED, StsApi, user_id
from lambent.model.errors import AccessDenied, InvalidParameterValue, ValidationError
from lambent.model.ids import RequestId, Scope
from lambent.model.requests import Caller, RequestContext
from lambent.testing.clock import FakeClock

pytestmark = pytest.mark.anyio


ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/path/other"
FUNCTION = f"arn:aws:sts::{ACCOUNT}:assumed-role/worker/f"


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def sts(clock):
    return StsApi(RoleCredentials(clock, 600.0))


def context(arn=FUNCTION):
    return RequestContext(Scope(ACCOUNT, "us-east-1"), RequestId("1"), Caller(ACCOUNT, arn, "AKID"))


async def assume(sts, arn=FUNCTION, **members):
    return await sts.commands["AssumeRole"](context(arn), {"RoleArn": ROLE, "RoleSessionName": "s-1", **members})


async def test_the_caller_is_told_who_he_is(sts):
    told = await sts.commands["GetCallerIdentity"](context(), {})
    assert told == {"Account": ACCOUNT, "Arn": FUNCTION, "UserId": user_id(FUNCTION)}


async def test_a_role_of_the_own_account_is_assumed_for_the_time_asked(sts, clock):
    answer = await assume(sts, DurationSeconds=900)
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/other/s-1"
    assert answer["AssumedRoleUser"] == {"Arn": arn, "AssumedRoleId": user_id(arn)}
    given = answer["Credentials"]
    assert given["Expiration"] == clock.now() + timedelta(seconds=900)
    held = sts._roles.find_credential(given["AccessKeyId"])
    assert (held.arn, held.account_id, held.expires_at) == (arn, ACCOUNT, given["Expiration"])
    assert (held.secret, held.session_token) == (given["SecretAccessKey"], given["SessionToken"])


async def test_without_a_time_it_is_an_hour_and_for_a_session_no_more(sts, clock):
    assert (await assume(sts))["Credentials"]["Expiration"] == clock.now() + timedelta(hours=1)
    root = f"arn:aws:iam::{ACCOUNT}:root"
    given = (await assume(sts, root, DurationSeconds=43_200))["Credentials"]
    assert given["Expiration"] == clock.now() + timedelta(hours=12)
    with pytest.raises(ValidationError, match="1 hour session limit for roles assumed by role chaining"):
        await assume(sts, DurationSeconds=3601)


async def test_a_role_of_another_account_is_denied(sts):
    role = "arn:aws:iam::999999999999:role/admin"
    with pytest.raises(AccessDenied) as denied:
        await assume(sts, RoleArn=role)
    assert denied.value.message == f"User: {FUNCTION} is not authorized to perform: sts:AssumeRole on resource: {role}"


@pytest.mark.parametrize("arn", ["nothing-valid-in-here", FUNCTION, f"{ROLE}\n", f"arn:aws:iam::{ACCOUNT}:role/a/b/"])
async def test_what_is_no_role_is_invalid(sts, arn):
    with pytest.raises(ValidationError) as refused:
        await assume(sts, RoleArn=arn)
    assert refused.value.message == f"{arn} is invalid"


@pytest.mark.parametrize("member", UNSUPPORTED)
async def test_what_would_narrow_the_session_is_refused_by_name(sts, member):
    with pytest.raises(InvalidParameterValue, match=f"{member} is not supported yet"):
        await assume(sts, **{member: "x"})


@pytest.mark.parametrize(
    ("arn", "begin", "end"),
    [
        ("arn:aws:iam::123456789012:root", "123456789012", "123456789012"),
        ("arn:aws:iam::123456789012:user/team/me", "AIDA", ""),
        ("arn:aws:iam::123456789012:role/service-role/worker", "AROA", ""),
        ("arn:aws:sts::123456789012:assumed-role/worker/f", "AROA", ":f"),
    ],
)
def test_a_user_id_has_the_form_of_iams(arn, begin, end):
    told = user_id(arn)
    assert told.startswith(begin)
    assert told.endswith(end)
    assert len(told.partition(":")[0]) == (12 if begin.isdigit() else 21)


def test_sessions_of_one_role_share_its_id_and_roles_of_one_name_in_two_accounts_do_not():
    ids = [
        user_id(f"arn:aws:{arn}").partition(":")[0]
        for arn in ("sts::1:assumed-role/r/a", "sts::1:assumed-role/r/b", "iam::1:role/path/r", "iam::2:role/r")
    ]
    assert (len(set(ids[:3])), len(set(ids))) == (1, 2)

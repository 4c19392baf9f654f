"""Who am I: the answers of STS."""

import pytest

from lambent.access.sts import StsApi, user_id
from lambent.model.ids import RequestId, Scope
from lambent.model.requests import Caller, RequestContext

pytestmark = pytest.mark.anyio


async def test_the_caller_is_told_who_he_is():
    arn = "arn:aws:sts::123456789012:assumed-role/worker/f"
    context = RequestContext(Scope("123456789012", "us-east-1"), RequestId("1"), Caller("123456789012", arn))
    told = await StsApi().commands["GetCallerIdentity"](context, {})
    assert told == {"Account": "123456789012", "Arn": arn, "UserId": user_id(arn)}


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

"""Who may invoke: his own account, and whom the policy of exactly what is named allows it."""

import pytest

from lambent.invoke.access import FunctionPolicies
from lambent.model.errors import AccessDenied

STRANGER = "arn:aws:iam::222222222222:user/u"


def statement(kit, suffix="", **changes):
    return {
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::222222222222:root"},
        "Action": "lambda:InvokeFunction",
        "Resource": f"{kit.ARN}{suffix}",
        **changes,
    }


def authorise(kit, statements, caller=STRANGER, qualifier=None):
    FunctionPolicies(lambda target: statements).authorise(kit.make_call(caller_arn=caller, qualifier=qualifier))


def test_own_account_and_lambent_itself_need_no_policy(kit):
    authorise(kit, (), caller="arn:aws:iam::111111111111:user/u")
    authorise(kit, (), caller="")


def test_another_account_needs_a_statement_that_allows_it(kit):
    authorise(kit, [statement(kit)])
    authorise(kit, [statement(kit, ":live")], qualifier="live")
    authorise(kit, [statement(kit, Condition={"StringEquals": {"aws:PrincipalAccount": "222222222222"}})])
    for refused, qualifier in (
        ((), None),
        ([statement(kit)], "live"),
        ([statement(kit, Action="lambda:GetFunction")], None),
        ([statement(kit, Principal={"Service": "s3.amazonaws.com"})], None),
        ([statement(kit, Condition={"StringEquals": {"aws:PrincipalOrgID": "o-1"}})], None),
        ([statement(kit, Condition={"Bool": {"lambda:InvokedViaFunctionUrl": "true"}})], None),
        ([statement(kit), statement(kit, Effect="Deny")], None),
    ):
        with pytest.raises(AccessDenied, match="no resource-based policy allows"):
            authorise(kit, refused, qualifier=qualifier)

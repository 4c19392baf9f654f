"""IAM's policy language: a table of cases from its guide, and an evaluation of our own that must agree."""

import fnmatch
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.access.policies import AccessRequest, Decision, decide_access

FN = "arn:aws:lambda:us-east-1:111111111111:function:fn"
USER = "arn:aws:iam::222222222222:user/u"
SESSION = "arn:aws:sts::222222222222:assumed-role/deployer/s1"


def allowing(**changes):
    return {"Effect": "Allow", "Principal": "*", "Action": "lambda:InvokeFunction", "Resource": FN, **changes}


def decide(*statements, principal=USER, action="lambda:InvokeFunction", resource=FN, **context):
    known = {
        key.replace("__", ":").lower(): [value] if isinstance(value, str) else value for key, value in context.items()
    }
    return decide_access(
        statements, AccessRequest(principal=principal, action=action, resource=resource, context=known)
    )


@pytest.mark.parametrize(
    ("principal", "wanted", "is_met"),
    [
        (USER, "*", True),
        (USER, {"AWS": "*"}, True),
        (USER, {"AWS": USER}, True),
        (USER, {"AWS": ["arn:aws:iam::222222222222:root"]}, True),
        (USER, {"AWS": "222222222222"}, True),
        (USER, {"AWS": "333333333333"}, False),
        (USER, {"AWS": "arn:aws:iam::222222222222:user/*"}, False),
        (USER, {"Service": "s3.amazonaws.com"}, False),
        (SESSION, {"AWS": "arn:aws:iam::222222222222:role/deployer"}, True),
        (SESSION, {"AWS": "arn:aws:iam::222222222222:role/path/deployer"}, True),
        (SESSION, {"AWS": "arn:aws:iam::222222222222:role/xdeployer"}, False),
        (SESSION, {"AWS": "arn:aws:iam::333333333333:role/deployer"}, False),
        (SESSION, {"AWS": SESSION}, True),
        ("s3.amazonaws.com", {"Service": "s3.amazonaws.com"}, True),
        ("s3.amazonaws.com", {"Service": ["a.b", "s3.amazonaws.com"]}, True),
        ("s3.amazonaws.com", {"AWS": "*"}, False),
        ("s3.amazonaws.com", {"Service": "*.amazonaws.com"}, False),
    ],
)
def test_principals_are_met_as_iam_meets_them(principal, wanted, is_met):
    assert (decide(allowing(Principal=wanted), principal=principal) is Decision.ALLOW) == is_met


@pytest.mark.parametrize(
    ("changes", "is_met"),
    [
        ({"Action": "lambda:*"}, True),
        ({"Action": "*"}, True),
        ({"Action": "LAMBDA:invokefunction"}, True),
        ({"Action": ["lambda:GetFunction", "lambda:Invoke*"]}, True),
        ({"Action": "lambda:GetFunction"}, False),
        ({"Action": "lambda:InvokeFunctio?"}, True),
        ({"Resource": f"{FN}:*"}, False),
        ({"Resource": "arn:aws:lambda:*:111111111111:function:f?"}, True),
        ({"Resource": FN.upper()}, False),
    ],
)
def test_actions_and_resources_are_met_as_iam_meets_them(changes, is_met):
    assert (decide(allowing(**changes)) is Decision.ALLOW) == is_met


@pytest.mark.parametrize(
    ("operator", "wanted", "value", "is_met"),
    [
        ("StringEquals", "a", "a", True),
        ("StringEquals", ["b", "a"], "a", True),
        ("StringEquals", "A", "a", False),
        ("StringEquals", "a*", "ab", False),
        ("StringEquals", "a", None, False),
        ("StringEqualsIfExists", "a", None, True),
        ("StringEqualsIfExists", "a", "b", False),
        ("StringNotEquals", "a", "b", True),
        ("StringNotEquals", ["a", "b"], "b", False),
        ("StringNotEquals", "a", None, True),
        ("StringEqualsIgnoreCase", "A", "a", True),
        ("StringNotEqualsIgnoreCase", "A", "a", False),
        ("StringLike", "a*c?", "abbbcd", True),
        ("StringLike", "a?", "a", False),
        ("StringNotLike", "a*", "b", True),
        ("NumericEquals", "10", "10.0", True),
        ("NumericLessThan", "10", "9", True),
        ("NumericLessThan", "10", "x", False),
        ("NumericGreaterThanEquals", 10, "10", True),
        ("NumericNotEquals", "10", "11", True),
        ("DateGreaterThan", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", True),
        ("DateLessThan", "1767225600", "2025-12-31T23:59:59Z", True),
        ("DateEquals", "2026-01-01", "2026-01-01T00:00:00Z", True),
        ("Bool", "true", "true", True),
        ("Bool", True, "true", True),
        ("Bool", "true", "false", False),
        ("Null", "true", None, True),
        ("Null", "false", None, False),
        ("Null", False, "x", True),
        ("IpAddress", "10.0.0.0/8", "10.1.2.3", True),
        ("IpAddress", ["10.0.0.0/8", "192.0.2.1"], "192.0.2.1", True),
        ("IpAddress", "2001:db8::/32", "2001:db8::1", True),
        ("NotIpAddress", "10.0.0.0/8", "192.0.2.1", True),
        ("IpAddress", "10.0.0.0/8", "no address", False),
        ("ArnLike", "arn:aws:s3:::bucket", "arn:aws:s3:::bucket", True),
        ("ArnLike", "arn:aws:events:*:111111111111:rule/*", "arn:aws:events:eu-west-1:111111111111:rule/r", True),
        ("ArnLike", "arn:*:rule/r", "arn:aws:events:eu-west-1:111111111111:rule/r", False),
        ("ArnEquals", "arn:aws:s3:::b*", "arn:aws:s3:::bucket", True),
        ("ArnNotLike", "arn:aws:s3:::b*", "arn:aws:s3:::other", True),
        ("NoSuchOperator", "a", "a", False),
    ],
)
def test_operators_hold_as_iams_do(operator, wanted, value, is_met):
    context = {} if value is None else {"aws__Key": value}
    statement = allowing(Condition={operator: {"AWS:key": wanted}})
    assert (decide(statement, **context) is Decision.ALLOW) == is_met


@pytest.mark.parametrize(
    ("operator", "values", "is_met"),
    [
        ("ForAllValues:StringEquals", ["a", "b"], True),
        ("ForAllValues:StringEquals", ["a", "c"], False),
        ("ForAllValues:StringEquals", None, True),
        ("ForAnyValue:StringEquals", ["a", "c"], True),
        ("ForAnyValue:StringEquals", ["c"], False),
        ("ForAnyValue:StringEquals", None, False),
        ("ForAnyValue:StringNotEquals", ["a", "c"], True),
        ("ForAllValues:StringNotEquals", ["a", "c"], False),
        ("ForAnyValue:StringEqualsIfExists", None, True),
    ],
)
def test_set_operators_hold_as_iams_do(operator, values, is_met):
    context = {} if values is None else {"aws__TagKeys": values}
    statement = allowing(Condition={operator: {"aws:TagKeys": ["a", "b"]}})
    assert (decide(statement, **context) is Decision.ALLOW) == is_met


@pytest.mark.parametrize(
    ("operator", "pattern", "value", "is_met"),
    [
        ("StringLike", "home/${aws:username}/*", "home/u/x", True),
        ("StringLike", "home/${aws:username}/*", "home/v/x", False),
        ("StringEquals", "${aws:username}", "u", True),
        ("StringLike", "${aws:unknown}", "u", False),
        ("StringEquals", "${aws:unknown, 'nobody'}", "nobody", True),
        ("StringLike", "a${*}b", "a*b", True),
        ("StringLike", "a${*}b", "axb", False),
        ("StringLike", "a${?}${$}", "a?$", True),
        ("StringEquals", "${*}", "*", True),
        ("StringLike", "${aws:star}", "anything", False),
        ("StringLike", "${aws:star}", "*", True),
    ],
)
def test_variables_are_put_in_and_bring_no_wildcards(operator, pattern, value, is_met):
    statement = allowing(Condition={operator: {"aws:key": pattern}})
    assert (decide(statement, aws__username="u", aws__star="*", aws__key=value) is Decision.ALLOW) == is_met


def test_a_deny_wins_and_silence_is_no_allow():
    assert decide() is Decision.NOT_ALLOWED
    assert decide(allowing(), allowing(Effect="Deny")) is Decision.DENY
    assert decide(allowing(Effect="Deny"), allowing()) is Decision.DENY
    assert decide(allowing(Effect="Deny", Action="lambda:GetFunction"), allowing()) is Decision.ALLOW


def test_negated_elements_take_in_everything_else():
    statement = {"Effect": "Allow", "Principal": "*", "NotAction": "lambda:Get*", "Resource": "*"}
    assert decide(statement) is Decision.ALLOW
    assert decide(statement, action="lambda:GetFunction") is Decision.NOT_ALLOWED
    statement = {"Effect": "Allow", "NotPrincipal": {"AWS": USER}, "Action": "*", "Resource": "*"}
    assert decide(statement) is Decision.NOT_ALLOWED
    assert decide(statement, principal=SESSION) is Decision.ALLOW


def test_a_statement_that_says_nothing_of_principal_or_resource_takes_in_nothing():
    for name in ("Principal", "Action", "Resource"):
        statement = allowing()
        del statement[name]
        assert decide(statement) is Decision.NOT_ALLOWED


PATTERN = st.text("ab*?", max_size=6)
TEXT = st.text("ab", max_size=6)


@given(PATTERN, TEXT)
def test_wildcards_agree_with_those_of_the_standard_library(pattern, text):
    statement = allowing(Condition={"StringLike": {"aws:key": pattern}})
    expected = re.fullmatch(fnmatch.translate(pattern), text) is not None
    assert (decide(statement, aws__key=text) is Decision.ALLOW) == expected


ACTIONS, RESOURCES, VALUES = ("lambda:A", "lambda:B"), ("r1", "r2"), ("x", "y", "z")
STATEMENT = st.fixed_dictionaries(
    {
        "Effect": st.sampled_from(["Allow", "Deny"]),
        "Principal": st.sampled_from(["*", {"AWS": USER}, {"AWS": "333333333333"}, {"Service": "s3.amazonaws.com"}]),
        "Action": st.lists(st.sampled_from([*ACTIONS, "lambda:*"]), min_size=1, max_size=2),
        "Resource": st.lists(st.sampled_from([*RESOURCES, "r*"]), min_size=1, max_size=2),
    },
    optional={
        "Condition": st.dictionaries(
            st.sampled_from(
                ["StringEquals", "StringNotEquals", "ForAllValues:StringEquals", "ForAnyValue:StringEquals"]
            ),
            st.dictionaries(st.just("k"), st.lists(st.sampled_from(VALUES), min_size=1, max_size=2), min_size=1),
            max_size=2,
        )
    },
)


def evaluate(statements, principal, action, resource, values):
    """Decide the same by sets: every statement as the set of requests that it takes in."""

    def takes_in(statement):
        who = {
            "*": {USER, "s3.amazonaws.com"},
            "AWS": {USER} if statement["Principal"] == {"AWS": USER} else set(),
            "Service": {"s3.amazonaws.com"},
        }["*" if statement["Principal"] == "*" else next(iter(statement["Principal"]))]
        what = {each for name in statement["Action"] for each in (ACTIONS if name == "lambda:*" else (name,))}
        where = {each for name in statement["Resource"] for each in (RESOURCES if name == "r*" else (name,))}
        if principal not in who or action not in what or resource not in where:
            return False
        for operator, keys in statement.get("Condition", {}).items():
            wanted, have = set(keys["k"]), None if values is None else set(values)
            is_met = {
                "StringEquals": have is not None and bool(have & wanted),
                "StringNotEquals": have is None or not have & wanted,
                "ForAllValues:StringEquals": have is None or have <= wanted,
                "ForAnyValue:StringEquals": have is not None and bool(have & wanted),
            }[operator]
            if not is_met:
                return False
        return True

    effects = {statement["Effect"] for statement in statements if takes_in(statement)}
    if "Deny" in effects:
        return Decision.DENY
    return Decision.ALLOW if effects else Decision.NOT_ALLOWED


@given(
    st.lists(STATEMENT, max_size=4),
    st.sampled_from([USER, "s3.amazonaws.com"]),
    st.sampled_from(ACTIONS),
    st.sampled_from(RESOURCES),
    st.none() | st.lists(st.sampled_from(VALUES), min_size=1, max_size=2),
)
def test_decisions_agree_with_an_evaluation_by_sets(statements, principal, action, resource, values):
    context = {} if values is None else {"k": values}
    request = AccessRequest(principal=principal, action=action, resource=resource, context=context)
    assert decide_access(statements, request) is evaluate(statements, principal, action, resource, values)

"""The examples of the CloudWatch Logs user guide, "Filter pattern syntax …" (read November 2026), as one table."""

import json

import pytest

from lambent.observe.filter_pattern import parse_filter_pattern
from lambent.observe.patterns.invalid import InvalidFilterPattern

ERRORS = (
    "[ERROR 400] BAD REQUEST",
    "[ERROR 401] UNAUTHORIZED REQUEST",
    "[ERROR 419] MISSING ARGUMENTS",
    "[ERROR 420] INVALID ARGUMENTS",
)
TRAIL = json.dumps(
    {
        "eventType": "UpdateTrail",
        "sourceIPAddress": "111.111.111.111",
        "arrayKey": ["value", "another value"],
        "objectList": [{"name": "a", "id": 1}, {"name": "b", "id": 2}],
        "SomeObject": None,
        "cluster.name": "c",
        "ThisFlag": True,
    }
)
USERS = json.dumps(
    {
        "user": {"id": 1, "email": "John.Stiles@example.com"},
        "users": [{"id": 2, "email": "John.Doe@example.com"}, {"id": 3, "email": "Jane.Doe@example.com"}],
        "actions": ["GET", "PUT", "DELETE"],
        "coordinates": [[0, 1, 2], [4, 5, 6], [7, 8, 9]],
    }
)
APACHE = '127.0.0.1 Prod frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534'
INFO = "INFO 09/25/2014 12:00:00 GET /service/resource/67 1200"
PART = "INFO 09/25/2014 12:00:01 POST /service/resource/67/part/111 1310"
WARNING = "WARNING 09/25/2014 12:00:02 Invalid user request"
ERROR = "ERROR 09/25/2014 12:00:02 Failed to process request"
LINES = (INFO, PART, WARNING, ERROR)


@pytest.mark.parametrize(
    ("pattern", "messages", "matching"),
    [
        pytest.param("ERROR", ERRORS, ERRORS, id="single-term"),
        pytest.param("ERROR", ("Exiting with ERRORCODE: -1",), ("Exiting with ERRORCODE: -1",), id="part-of-a-word"),
        pytest.param("ERROR", ("error", "Error"), (), id="case-counts"),
        pytest.param("ERROR ARGUMENTS", ERRORS, ERRORS[2:], id="multiple-terms"),
        pytest.param("?ERROR ?ARGUMENTS", (*ERRORS, "x"), ERRORS, id="optional-terms"),
        pytest.param(
            "?ERROR ?ARGUMENTS REQUEST",
            ("[INFO] REQUEST FAILED", "[WARN] UNAUTHORIZED REQUEST", "[ERROR] 400 BAD REQUEST", "ERROR ARGUMENTS"),
            ("[INFO] REQUEST FAILED", "[WARN] UNAUTHORIZED REQUEST", "[ERROR] 400 BAD REQUEST"),
            id="optional-beside-others-is-ignored",
        ),
        pytest.param(
            '"INTERNAL SERVER ERROR"',
            ("[ERROR 500] INTERNAL SERVER ERROR", "INTERNAL ERROR SERVER"),
            ("[ERROR 500] INTERNAL SERVER ERROR",),
            id="exact-phrase",
        ),
        pytest.param("ERROR -ARGUMENTS", ERRORS, ERRORS[:2], id="exclude"),
        pytest.param('"ERROR" - "Exiting"', ("Exiting with ERRORCODE: -1", "ERROR"), ("ERROR",), id="exclude-a-phrase"),
        pytest.param("-ERROR", ("ERROR", "fine"), ("fine",), id="only-exclude"),
        pytest.param('" "', ("anything", "any thing"), ("anything", "any thing"), id="everything"),
        pytest.param("", ("anything",), ("anything",), id="empty"),
        pytest.param("%AUTHORIZED%", ERRORS, ERRORS[1:2], id="expression"),
        pytest.param("%^[hc]at%", ("hat x", "cat", "that"), ("hat x", "cat"), id="anchored-at-start"),
        pytest.param("%[hc]at$%", ("a cat", "a cat\n", "cats"), ("a cat", "a cat\n"), id="anchored-at-end"),
        pytest.param("%colou?r%", ("color", "colour", "colouur"), ("color", "colour"), id="zero-or-one"),
        pytest.param("%^a{3,5}$%", ("aa", "aaa", "aaaaa", "aaaaaa"), ("aaa", "aaaaa"), id="counted"),
        pytest.param(
            "%^starting|^initializing|^shutting down%",
            ("starting ...", "shutting down", "skipping initializing ..."),
            ("starting ...", "shutting down"),
            id="alternatives",
        ),
        pytest.param(r"%\[.\]%", ("[a]", "[]]", "[ ]", "[]"), ("[a]", "[]]", "[ ]"), id="escaped-operators"),
        pytest.param("%ab[0-9]*%", ("ab", "ab0", "ab129"), ("ab", "ab0", "ab129"), id="zero-or-more"),
        pytest.param("%ab+c%", ("abc", "abbbc", "ac"), ("abc", "abbbc"), id="one-or-more"),
        pytest.param("%.at%", ("hat", "#at", " at", "at"), ("hat", "#at", " at"), id="any-character"),
        pytest.param(r"%\d\D%", ("1a", "a1"), ("1a",), id="digit-classes"),
        pytest.param(r"%\x28\x3A%", ("(:", ":("), ("(:",), id="hexadecimal"),
        pytest.param("%10.10.0.1%", ("10010,051",), ("10010,051",), id="unescaped-dot"),
    ],
)
def test_a_pattern_for_unstructured_events_matches_as_the_guide_says(pattern, messages, matching):
    parsed = parse_filter_pattern(pattern)
    assert tuple(message for message in messages if parsed.matches(message)) == matching


@pytest.mark.parametrize(
    ("pattern", "message", "expected"),
    [
        ('{ $.eventType = "UpdateTrail" }', TRAIL, True),
        ("{ $.sourceIPAddress != 123.123.* }", TRAIL, True),
        ("{ $.sourceIPAddress = 111.111.* }", TRAIL, True),
        ('{ $.arrayKey[0] = "value" }', TRAIL, True),
        ("{ $.objectList[1].id = 2 }", TRAIL, True),
        ("{ $.objectList[1].number = 2 }", TRAIL, False),
        ('{ $.ThisFlag[0] = "value" }', TRAIL, False),
        ("{ $.eventType = %Trail% }", TRAIL, True),
        ("{ $.arrayKey[*] = %val.{2}% }", TRAIL, True),
        (r"{ $.* = %111\.111\.111\.1[0-9]{1,2}% }", TRAIL, True),
        ("{ $.['cluster.name'] = \"c\" }", TRAIL, True),
        ("{ $.SomeObject IS NULL }", TRAIL, True),
        ("{ $.SomeOtherObject IS NULL }", TRAIL, False),
        ("{ $.SomeOtherObject NOT EXISTS }", TRAIL, True),
        ("{ $.SomeObject NOT EXISTS }", TRAIL, False),
        ("{ $.ThisFlag IS TRUE }", TRAIL, True),
        ("{ $.ThisFlag IS FALSE }", TRAIL, False),
        ('{ $.eventType = "*" && $.sourceIPAddress != 123.123.* }', TRAIL, True),
        ('{ ($.user.id = 1) && ($.users[0].email = "John.Doe@example.com") }', USERS, True),
        (
            '{ $.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = "nonmatch" '
            '&& $.actions[2] = "nonmatch" }',
            USERS,
            True,
        ),
        (
            '{ ($.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = nonmatch) '
            "&& $.actions[2] = nomatch }",
            USERS,
            False,
        ),
        ('{ ($.user.id = 2 && $.users[0].email = "nonmatch") || $.actions[2] = "GET" }', USERS, False),
        ("{ $.coordinates[1][2] = 6 }", USERS, True),
        ("{ $.users = 1 }", '{"users": [1, 2, 3]}', False),
        ("{ $.users != 1 }", '{"users": [1, 2, 3]}', False),
        # A public report (2024): != does not match where the property is missing.
        (
            '{($.errorCode = "AccessDenied") && ($.userIdentity.invokedBy != "cloudfront.amazonaws.com")}',
            '{"errorCode": "AccessDenied", "userIdentity": {"accountId": "anonymous"}}',
            False,
        ),
        ("{ $.bandwidth > 75 }", '{"bandwidth": 75.5}', True),
        ("{ $.latency < 50 }", '{"latency": 50}', False),
        ("{ $.refreshRate >= 60 }", '{"refreshRate": 60}', True),
        ("{ $.responseTime <= 5 }", '{"responseTime": 5.1}', False),
        ("{ $.errorCode = 400}", '{"errorCode": 400}', True),
        ("{ $.errorCode != 500 }", '{"errorCode": 400}', True),
        ("{ $.number[0] = 1e+3 }", '{"number": [1000]}', True),
        ("{ $.number[0] != 1e-3 }", '{"number": [0.001]}', False),
        ("{ $.latency > +1000 }", '{"latency": 1001}', True),
        ("{ $.latency = * }", '{"latency": 50, "requestType": "GET"}', True),
        ("{ $.latency = * }", '{"requestType": "GET"}', False),
        ("{ $.latency = * }", "latency 50", False),
    ],
)
def test_a_pattern_for_json_events_matches_as_the_guide_says(pattern, message, expected):
    assert parse_filter_pattern(pattern).matches(message) is expected


@pytest.mark.parametrize(
    ("pattern", "messages", "matching"),
    [
        (
            r"[ip=%127\.0\.0\.[1-9]%, user, username, timestamp, request =*.html*, status_code = 4*, bytes]",
            (APACHE,),
            (APACHE,),
        ),
        ("[..., request =*.html*, status_code = 4*, bytes]", (APACHE,), (APACHE,)),
        ("[..., request=*.html*, status_code=4*,]", (APACHE,), (APACHE,)),
        ("[ip, user, ..., status_code, bytes]", (APACHE, "a b"), (APACHE,)),
        ("[ip, user, ...]", (APACHE, "a"), (APACHE,)),
        (
            "[ip, user, username, timestamp, request =*.html*, status_code = 404 || status_code = 410, bytes]",
            (APACHE, APACHE.replace("404", "500")),
            (APACHE,),
        ),
        ("[ip, server, username, timestamp, request, status_code, bytes > 1000]", (APACHE,), (APACHE,)),
        ("[ip, server, username, timestamp, request, status_code, bytes > 1534]", (APACHE,), ()),
        ("[ip, server, username, timestamp = *Oct*0700, request, status_code, bytes]", (APACHE,), (APACHE,)),
        ("[w1=ERROR, w2]", LINES, (ERROR,)),
        ("[w1=ERROR || w1=WARNING, w2]", LINES, (WARNING, ERROR)),
        ("[w1!=ERROR && w1!=WARNING, w2]", LINES, (INFO, PART)),
        ("[logLevel, date, time, method, url=%/service/resource/[0-9]+$%, response_time]", LINES, (INFO,)),
        ("[logLevel, date, time, method, url=%/service/resource/[0-9]+/part/[0-9]+$%, response_time]", LINES, (PART,)),
    ],
)
def test_a_pattern_for_space_delimited_events_matches_as_the_guide_says(pattern, messages, matching):
    parsed = parse_filter_pattern(pattern)
    assert tuple(message for message in messages if parsed.matches(message)) == matching


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        # Public reports of AWS's answers (2018, 2025).
        ('""', "Invalid filter pattern: Invalid character(s) in term '\"\"'"),
        ("{$.a", "Invalid filter pattern: If a filter pattern starts with '{' it must end with '}'"),
        ("[a, b", "Invalid filter pattern: If a filter pattern starts with '[' it must end with ']'"),
        ("email@example.com", "Invalid filter pattern: Invalid character(s) in term 'email@example.com'"),
        ("[ip, status_code = 4* && bytes > 1000]", "Invalid filter pattern"),
        # User guide: not supported.
        ("%something!%", "Invalid filter pattern: Invalid character(s) in term '%something!%'"),
        ("%(a)%", "Invalid filter pattern: Invalid character(s) in term '%(a)%'"),
        ("{ $.a EXISTS }", "Invalid filter pattern"),
        ("{ $.a IS NOT NULL }", "Invalid filter pattern"),
        ("{ $.*.b[*] = 1 }", "Invalid filter pattern"),
        ("{ $.a > x }", "Invalid filter pattern"),
        ("{ a = 1 }", "Invalid filter pattern"),
        ("{ }", "Invalid filter pattern"),
        ("{ $.a = 1 && }", "Invalid filter pattern"),
        ("{ ($.a = 1 }", "Invalid filter pattern"),
        ("{ $.a = 1 ) }", "Invalid filter pattern"),
        ("[a, ..., b, ...]", "Invalid filter pattern"),
        ('"open', "Invalid filter pattern: Invalid character(s) in term '\"open'"),
        ("%open", "Invalid filter pattern: Invalid character(s) in term '%open'"),
        ("-", "Invalid filter pattern: Invalid character(s) in term '-'"),
        ("{" + "(" * 200 + "$.a = 1" + ")" * 200 + "}", "Invalid filter pattern"),
    ],
)
def test_a_malformed_pattern_is_refused_with_a_reason(pattern, message):
    with pytest.raises(InvalidFilterPattern) as refusal:
        parse_filter_pattern(pattern)
    assert (refusal.value.code, refusal.value.message) == ("InvalidParameterException", message)


def test_more_than_two_expressions_or_three_wildcards_are_refused():
    for pattern in ("{ $.a = %x% && $.b = %x% && $.c = %x% }", "[a=%x%, b=%x%, c=%x%]"):
        with pytest.raises(InvalidFilterPattern):
            parse_filter_pattern(pattern)
    with pytest.raises(InvalidFilterPattern):
        parse_filter_pattern("{ $.a.* = 1 || $.b.* = 1 || $.c.* = 1 || $.d.* = 1 }")
    parse_filter_pattern("{ $.a.* = 1 || $.b.* = 1 || $.c.* = 1 }")

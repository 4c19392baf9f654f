"""Patterns mean what an independent reading of the same tree means."""

import json
import operator
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from lambent.observe.filter_pattern import parse_filter_pattern
from lambent.observe.patterns.expressions import Expression
from lambent.observe.patterns.invalid import InvalidFilterPattern

NAMES = ("a", "b", "c-d")
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-20, 20), st.sampled_from([0.5, -1.25]), st.sampled_from(["x", "xy", "y x"])
)
EVENTS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)),
    max_leaves=12,
).map(lambda event: event if isinstance(event, dict) else {"a": event})
PATHS = st.lists(st.one_of(st.sampled_from(NAMES), st.integers(0, 2)), min_size=1, max_size=3).map(
    lambda steps: [steps[0] if isinstance(steps[0], str) else "a", *steps[1:]]
)
ORDERS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
LEAVES = st.one_of(
    st.tuples(st.sampled_from([*ORDERS, "=", "!="]), PATHS, st.integers(-20, 20)),
    st.tuples(st.sampled_from(["=", "!="]), PATHS, st.sampled_from(["x", "x*", "*y", "*", "y x"])),
    st.tuples(st.just("IS"), PATHS, st.sampled_from([None, True, False])),
    st.tuples(st.just("NOT EXISTS"), PATHS, st.none()),
)
TREES = st.recursive(LEAVES, lambda inner: st.tuples(st.sampled_from(["&&", "||"]), inner, inner), max_leaves=6)


def text_of(tree):
    sign, left, right = tree
    if sign in ("&&", "||"):
        return f"({text_of(left)}) {sign} ({text_of(right)})"
    path = "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in left)
    if sign == "NOT EXISTS":
        return f"{path} NOT EXISTS"
    if sign == "IS":
        return f"{path} IS {json.dumps(right).upper()}"
    return f"{path} {sign} {json.dumps(right) if isinstance(right, str) else right}"


def find(event, path):
    for step in path:
        try:
            event = event[step] if isinstance(event, dict if isinstance(step, str) else list) else {}[step]
        except (KeyError, IndexError):
            return ...
    return event


def means(tree, event):
    sign, left, right = tree
    if sign == "&&":
        return means(left, event) and means(right, event)
    if sign == "||":
        return means(left, event) or means(right, event)
    value = find(event, left)
    if sign == "NOT EXISTS":
        return value is ...
    if sign == "IS":
        return value is right
    if value is ... or value is None or isinstance(value, dict | list):
        return False
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if sign in ORDERS:
        return is_number and ORDERS[sign](value, right)
    if isinstance(right, str):
        text = value if isinstance(value, str) else json.dumps(value)
        is_equal = re.fullmatch(".*".join(map(re.escape, right.split("*"))), text, re.DOTALL) is not None
    else:
        is_equal = value == right if is_number else value == str(right)
    return is_equal == (sign == "=")


@given(tree=TREES, event=EVENTS)
@settings(max_examples=400, deadline=None)
def test_a_json_pattern_means_what_its_tree_means(tree, event):
    assert parse_filter_pattern("{ " + text_of(tree) + " }").matches(json.dumps(event)) == means(tree, event)


ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", r"\W", "1", r"\.", r"\x61", "[a-c1]"])
ITEMS = st.one_of(
    st.tuples(ATOMS, st.sampled_from(["", "", "*", "+", "?", "{2}", "{1,2}", "{2,}"])).map("".join),
    st.sampled_from(["^", "$"]),
)
EXPRESSIONS = st.lists(st.lists(ITEMS, min_size=1, max_size=5).map("".join), min_size=1, max_size=3).map("|".join)


@given(source=EXPRESSIONS, text=st.text("ab1.c ", max_size=12))
@settings(max_examples=800, deadline=None)
def test_an_expression_finds_what_re_finds(source, text):
    assert Expression(source).search(text) == (re.search(source, text, re.ASCII) is not None)


@given(source=st.text(max_size=40), message=st.text(max_size=40))
@settings(max_examples=500, deadline=None)
def test_any_text_is_a_pattern_or_refused(source, message):
    try:
        pattern = parse_filter_pattern(source)
    except InvalidFilterPattern:
        return
    assert pattern.matches(message) in (True, False)


@given(source=st.text('{}[]()%$.=!<>&|"?-*, abIS019\\', max_size=30), message=st.text('{}[]":ab1, ', max_size=20))
@settings(max_examples=500, deadline=None)
def test_any_text_of_the_languages_own_signs_is_a_pattern_or_refused(source, message):
    test_any_text_is_a_pattern_or_refused.hypothesis.inner_test(source, message)

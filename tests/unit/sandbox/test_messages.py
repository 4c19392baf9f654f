"""What the launcher takes as a message, and what it refuses."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.sandbox.launcher.messages import OPERATIONS, Malformed, find_identity, parse_request

LIMITS = {"memory_mib": 128, "tmp_mib": 512, "processes": 742, "open_files": 1024, "cpu_share": None, "cpu_weight": 100}
START = {
    "sandbox": "a-1",
    "program": 1,
    "argv": ["/bin/true"],
    "environ": {"A": "b=c", "E": ""},
    "trees": {"code": "sha256-0a.1_b+c"},
    "received": ["output", "control"],
}


def packet(operation, **fields):
    return json.dumps({"id": 7, "op": operation, "launcher": "x", **fields}).encode()


def test_a_sound_message_is_parsed_into_its_fields():
    assert parse_request(packet("start", **START)) == (7, "start", START)
    assert parse_request(packet("create", sandbox="a", limits=LIMITS, egress="none")) == (
        7,
        "create",
        {"sandbox": "a", "limits": LIMITS, "egress": "none"},
    )


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"sandbox": "A"}, id="capital-in-an-id"),
        pytest.param({"sandbox": "a/b"}, id="path-as-an-id"),
        pytest.param({"sandbox": "a\n"}, id="newline-after-an-id"),
        pytest.param({"sandbox": "-a"}, id="id-like-an-option"),
        pytest.param({"sandbox": "a" * 41}, id="long-id"),
        pytest.param({"program": 0}, id="program-zero"),
        pytest.param({"program": True}, id="true-is-no-number"),
        pytest.param({"argv": []}, id="no-command"),
        pytest.param({"argv": ["sh"]}, id="command-without-a-path"),
        pytest.param({"argv": ["/bin/sh\0"]}, id="nul-in-an-argument"),
        pytest.param({"argv": "/bin/sh"}, id="command-as-text"),
        pytest.param({"environ": {"A=B": ""}}, id="equals-sign-in-a-name"),
        pytest.param({"environ": {"": ""}}, id="variable-without-a-name"),
        pytest.param({"environ": {"A": 1}}, id="number-as-a-value"),
        pytest.param({"environ": {"A": "\0"}}, id="nul-in-a-value"),
        pytest.param({"trees": {"code": ".."}}, id="parent-as-a-tree"),
        pytest.param({"trees": {"code": "a/b"}}, id="path-as-a-tree"),
        pytest.param({"trees": {"code": "/etc"}}, id="absolute-path-as-a-tree"),
        pytest.param({"trees": {"code": ""}}, id="empty-tree"),
        pytest.param({"trees": {"root": "a"}}, id="unknown-place"),
        pytest.param({"received": []}, id="no-output"),
        pytest.param({"received": ["output", "output"]}, id="output-twice"),
        pytest.param({"received": ["output", "else"]}, id="unknown-descriptor"),
        pytest.param({"more": 1}, id="unknown-field"),
    ],
)
def test_what_is_not_of_the_protocol_is_refused(change):
    with pytest.raises(Malformed):
        parse_request(packet("start", **{**START, **change}))


@pytest.mark.parametrize("field", sorted(START))
def test_every_field_is_required(field):
    fields = {name: value for name, value in START.items() if name != field}
    with pytest.raises(Malformed, match=field):
        parse_request(packet("start", **fields))


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_malformed(data):
    find_identity(data)
    with pytest.raises(Malformed):
        parse_request(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(sorted(OPERATIONS)), st.data())
def test_no_value_of_a_field_raises_anything_but_malformed(operation, data):
    fields = {name: data.draw(JSON) for name in OPERATIONS[operation]}
    try:
        _, name, parsed = parse_request(packet(operation, **fields))
    except Malformed:
        return
    assert (name, set(parsed)) == (operation, set(fields))

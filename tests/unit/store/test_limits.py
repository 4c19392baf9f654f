"""Prefixes, names and the holder's own clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.store.contract import Doc, TooLarge
from lambent.store.limits import after_prefix, check_key, encode_value, right_ends_mono_s

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@pytest.mark.parametrize(
    ("prefix", "end"),
    [
        pytest.param("", None, id="everything"),
        pytest.param("a/", "a0", id="the-next-character"),
        pytest.param("a\U0010ffff", "b", id="the-last-character-carries"),
        pytest.param("\U0010ffff", None, id="nothing-above"),
        pytest.param("\ud7ff", "\ue000", id="surrogates-are-no-characters"),
    ],
)
def test_the_end_of_a_prefix(prefix, end):
    assert after_prefix(prefix) == end


@given(prefix=TEXT, key=TEXT)
def test_a_key_begins_with_a_prefix_exactly_where_it_lies_between_the_bounds(prefix, key):
    end = after_prefix(prefix)
    in_range = prefix.encode() <= key.encode() and (end is None or key.encode() < end.encode())
    assert in_range == key.startswith(prefix)


@given(st.text())
def test_a_name_is_kept_or_too_large(name):
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        size = 0
    if 0 < size <= 512 and "\0" not in name:
        assert check_key(name) == name
    else:
        with pytest.raises(TooLarge):
            check_key(name)


@given(st.dictionaries(st.text(max_size=3), st.one_of(st.booleans(), st.integers(-(2**63), 2**63), st.text())))
def test_a_value_comes_back_as_it_was(value):
    assert Doc("k", encode_value(value), 1).value == value


def test_a_short_ttl_gives_a_holder_no_right_at_all():
    assert right_ends_mono_s(100.0, 1.0) < 100.0
    assert right_ends_mono_s(100.0, 60.0) == pytest.approx(158.4)
